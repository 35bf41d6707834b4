"""Lines of the log as JSON, for programs that gather them."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from tesp_api.context import REQUEST_ID, RUN_ID, TASK_ID, TRACE_ID

_CONTEXT = (
    ("request_id", REQUEST_ID),
    ("task_id", TASK_ID),
    ("run_id", RUN_ID),
    ("trace_id", TRACE_ID),
)


class JsonFormatter(logging.Formatter):
    """An object on one line for each message, whatever that holds: all but ASCII is escaped.

    Keys that are not known are absent. `exception` is the traceback.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, variable in _CONTEXT if (value := variable.get())}
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line)
