"""How a benchmark's figures are printed: a table for people, one JSON object for programs."""

import json
import sys
from collections.abc import Mapping


def print_report(bench: str, figures: Mapping[str, float], ratios: Mapping[str, float]) -> None:
    """Print figures and ratios; as JSON with `--json` on the command line."""
    if "--json" in sys.argv[1:]:
        rounded = {name: round(value, 6) for name, value in figures.items()}
        print(json.dumps({"bench": bench, "figures": rounded, "ratios": dict(ratios)}))
        return
    width = max(map(len, [*figures, *ratios]), default=0)
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:12.4f}")
    for name, value in ratios.items():
        print(f"{name:<{width}}  {value:12.2f} x")
