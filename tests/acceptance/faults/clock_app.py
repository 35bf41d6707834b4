"""The real server under libfaketime, which bars the way of `time.sleep` to the kernel."""

import select
import time
from typing import Any


def _sleep(seconds: Any) -> None:
    select.select([], [], [], float(seconds))


time.sleep = _sleep

from tesp_api.tesp_api import app  # noqa: E402

__all__ = ["app"]
