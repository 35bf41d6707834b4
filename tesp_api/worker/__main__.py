"""`python3 -m tesp_api.worker JOB_DIRECTORY`; the archive runs the same. `--nursery 3`: see `nursery`."""

from __future__ import annotations

import os
import sys

from .run import main

if sys.argv[1:2] == ["--nursery"]:
    from .nursery import main as tend

    code = tend(int(sys.argv[2]))
else:
    code = main(sys.argv[1:])
sys.stdout.flush()
os._exit(code)  # at once: no thread that was given up on may hold the worker back
