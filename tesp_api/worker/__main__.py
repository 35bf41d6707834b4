"""`python3 -m tesp_api.worker JOB_DIRECTORY`; the archive runs the same."""

from __future__ import annotations

import os
import sys

from .run import main

code = main(sys.argv[1:])
sys.stdout.flush()
os._exit(code)  # at once: no thread that was given up on may hold the worker back
