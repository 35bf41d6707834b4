"""The command that runs the whole matrix, or what matches a pattern of it, and prints what came of it."""

import argparse
import dataclasses
import json
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

from tests.acceptance.faults.campaign import Campaign, Outcome
from tests.acceptance.faults.catalogue import all_absences, all_faults, all_scenarios, all_worlds
from tests.acceptance.faults.matrix import Matrix

MARK = "<!-- figures: python -m tests.acceptance.faults --markdown THIS_FILE -->"


def main() -> int:
    """0 if every cell is well, or its absence explained."""
    arguments = _parser().parse_args()
    seed = arguments.seed if arguments.seed is not None else random.randrange(10**6)
    print(f"seed {seed}", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    tell = partial(_tell, arguments.json)
    began_at = time.monotonic()
    campaign = Campaign(
        seed,
        arguments.only,
        at_once=arguments.at_once,
        most=arguments.most,
        tell=tell,
    )
    outcomes = campaign.play(all_scenarios())
    took_s = time.monotonic() - began_at
    for earlier in arguments.add:
        outcomes += [Outcome(**json.loads(line)) for line in earlier.read_text().splitlines()]
    matrix = Matrix(outcomes, [*all_absences()], all_faults(), all_worlds())
    failed = sum(bool(outcome.faults) for outcome in outcomes)
    is_whole = arguments.only == "*" and arguments.most is None
    missing = matrix.missing() if is_whole or arguments.add else []
    figures = f"{len(outcomes)} scenarios, {failed} failed, {len(missing)} cells missing; seed {seed}"
    figures += f", {took_s:.0f} s" if not arguments.add else ""
    print(f"\n{matrix.markdown()}", *(f"neither played nor explained: {cell}" for cell in missing), sep="\n")
    print(figures)
    if arguments.markdown:
        _put_between_marks(arguments.markdown, f"{figures}.\n\n{matrix.markdown()}")
    return 1 if failed or missing else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.faults", description=__doc__)
    parser.add_argument("--seed", type=int, help="of all that is random; printed, if left out")
    parser.add_argument("--only", default="*", help="play what matches of FAULT/WORLD/PHASE/DETAIL (*, ?)")
    parser.add_argument("--most", type=int, help="so many of them in each kind of world, at random")
    parser.add_argument("--at-once", type=int, default=2, help="worlds at one time (default: 2)")
    parser.add_argument("--json", type=Path, help="add every outcome to this file, each a line")
    parser.add_argument(
        "--add",
        type=Path,
        action="append",
        default=[],
        help="such a file of an earlier run, which counts too",
    )
    parser.add_argument("--markdown", type=Path, help="put the matrix into this file, between its two marks")
    return parser


def _put_between_marks(file: Path, text: str) -> None:
    before, mark, rest = file.read_text().partition(MARK)
    _, _, after = rest.partition(MARK)
    file.write_text(f"{before}{mark}\n{text}{MARK}{after}")


def _tell(file: Path | None, outcome: Outcome) -> None:
    mark = "FAILED" if outcome.faults else "ok"
    print(f"{mark:6} {outcome.took_s:5.1f} s  {outcome.name}  {outcome.note}".rstrip(), flush=True)
    if file is not None:
        with file.open("a") as lines:
            lines.write(json.dumps(dataclasses.asdict(outcome)) + "\n")
    for fault in outcome.faults:
        print("    " + fault.replace("\n", "\n    "), flush=True)


if __name__ == "__main__":
    sys.exit(main())
