"""What is being worked for: the request, task or run of the present asyncio task, for logs and traces."""

from contextvars import ContextVar

REQUEST_ID: ContextVar[str] = ContextVar("tesp_request_id", default="")
TASK_ID: ContextVar[str] = ContextVar("tesp_task_id", default="")
RUN_ID: ContextVar[str] = ContextVar("tesp_run_id", default="")

TRACE_ID: ContextVar[str] = ContextVar("tesp_trace_id", default="")
"""Set where traces are switched on."""

TRACEPARENT: ContextVar[str] = ContextVar("tesp_traceparent", default="")
"""The header of the request, as it came; "" if it has none, or traces are switched off."""
