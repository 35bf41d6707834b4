"""Build the images, and run the course with each profile: `python -m tests.acceptance.deployment [SITE ...]`.

Takes root, Docker and Compose, and some twenty minutes; `make deployment` installs what is missing.
"""

import sys
import time

from tests.acceptance.deployment.course import run_course
from tests.acceptance.deployment.images import Failed, build_all
from tests.acceptance.deployment.stack import Stack

SITES: dict[str, tuple[str, ...]] = {"embedded": ("monitoring",), "pulsar": (), "amqp": (), "slurm": ()}
"""The sites, and the profiles that come up with them."""


def main(asked: list[str]) -> int:
    """How many failed."""
    build_all()
    failed = 0
    for site in asked or list(SITES):
        began = time.monotonic()
        print(f"== {' '.join((site, *SITES[site]))}", flush=True)
        try:
            with Stack(site, *SITES[site]) as stack:
                run_course(stack)
        except (Failed, AssertionError) as error:
            failed += 1
            print(f"FAILED: {error}", flush=True)
        else:
            print(f"passed in {time.monotonic() - began:.0f} s", flush=True)
    print(f"{len(asked or SITES) - failed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
