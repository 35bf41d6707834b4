"""The command that runs the whole matrix, or what matches a pattern of it, and prints what came of it."""

import argparse
import dataclasses
import json
import random
import sys
import time
from pathlib import Path

from tests.acceptance.faults.campaign import Campaign, Outcome
from tests.acceptance.faults.catalogue import all_absences, all_faults, all_scenarios
from tests.acceptance.faults.matrix import Matrix
from tests.acceptance.faults.scenario import PHASES
from tests.acceptance.faults.worlds import KINDS


def main() -> int:
    """0 if every cell is well, or its absence explained."""
    arguments = _parser().parse_args()
    seed = arguments.seed if arguments.seed is not None else random.randrange(10**6)
    print(f"seed {seed}", flush=True)
    began_at = time.monotonic()
    campaign = Campaign(seed, arguments.only, at_once=arguments.at_once, tell=_tell)
    outcomes = campaign.play(all_scenarios())
    matrix = Matrix(outcomes, [*all_absences()], all_faults(), [kind.name for kind in KINDS])
    bad = [outcome for outcome in outcomes if outcome.faults]
    missing = matrix.missing() if arguments.only == "*" else []
    figures = (
        f"{len(outcomes)} scenarios in {time.monotonic() - began_at:.0f} s, {len(bad)} failed (seed {seed}); "
        f"{len(all_faults())} faults x {len(PHASES)} phases x {len(KINDS)} kinds of servers"
    )
    print("\n" + matrix.markdown())
    for cell in missing:
        print(f"neither played nor explained: {cell}")
    print(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps([dataclasses.asdict(each) for each in outcomes], indent=1))
    if arguments.markdown:
        arguments.markdown.write_text(f"{figures}\n\n{matrix.markdown()}")
    return 1 if bad or missing else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.faults", description=__doc__)
    parser.add_argument("--seed", type=int, help="of all that is random; printed, if left out")
    parser.add_argument("--only", default="*", help="play what matches of FAULT/WORLD/PHASE/DETAIL (*, ?)")
    parser.add_argument("--at-once", type=int, default=2, help="worlds at one time (default: 2)")
    parser.add_argument("--json", type=Path, help="write every outcome there")
    parser.add_argument("--markdown", type=Path, help="write the matrix there")
    return parser


def _tell(outcome: Outcome) -> None:
    mark = "FAILED" if outcome.faults else "ok"
    print(f"{mark:6} {outcome.took_s:5.1f} s  {outcome.name}  {outcome.note}".rstrip(), flush=True)
    for fault in outcome.faults:
        print("    " + fault.replace("\n", "\n    "), flush=True)


if __name__ == "__main__":
    sys.exit(main())
