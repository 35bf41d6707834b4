"""The operations of the OpenAPI document for live views: rows, counts, streams."""

from tesp_api.api.openapi_parts import (
    NUMBER_FROM_0,
    TASK_ID,
    TEXT,
    Json,
    extension,
    in_json,
    in_path,
    operation,
    parameter,
)
from tesp_api.api.overview import ROWS_DEFAULT, WAIT_MAX_S
from tesp_api.api.queries import PAGE_SIZE_MAX
from tesp_api.tes.states import State

TESP = "/tesp/v1"
SSE = "text/event-stream"

_STATE: Json = {"type": "string", "enum": [state.value for state in State]}
_MOMENT: Json = {"type": "string", "format": "date-time"}
LOGS = parameter(
    "logs",
    {"type": "string", "enum": ["text", "base64", "false"], "default": "text"},
    "In streams: how pieces of logs are told. `base64` keeps every byte; `false` leaves logs out.",
)
LAST_EVENT_ID = parameter(
    "last_event_id", TEXT, "In streams: as the header Last-Event-ID, for clients that cannot send it."
)
_EVENT: Json = {
    "type": "object",
    "description": "Each event; its data are a JSON object.",
    "required": ["event", "data"],
    "properties": {"event": TEXT, "data": TEXT, "id": TEXT},
}
STREAM: Json = {SSE: {"schema": _EVENT}}
"""What is answered to who asks for events as they come."""


def live_paths() -> Json:
    """The operations by path and method."""
    return {
        f"{TESP}/tasks": {"get": _list_rows()},
        f"{TESP}/tasks/{{id}}": {"get": _read_row()},
        f"{TESP}/counts": {
            "get": extension("ReadCounts", "Tasks by state", _COUNTS, in_json("The answer.", "Counts"))
        },
        f"{TESP}/destinations": {
            "get": extension(
                "ReadDestinations", "The destinations", _DESTINATIONS, in_json("The answer.", "Destinations")
            )
        },
        f"{TESP}/me": {
            "get": extension(
                "ReadMe", "Who you are", "Who you are to this server.", in_json("The answer.", "Me")
            )
        },
        f"{TESP}/events": {"get": _follow_all()},
    }


def live_run_paths() -> Json:
    """Those of workflow runs."""
    text = (
        "Server-sent events: `state`, `step` {name, task_id, state, reused_from}, `log` {stream, offset, "
        "length, "
        "text}, and `end` {state}. All steps are told once to each reader, then as they change."
    )
    follow = operation(
        "FollowRun",
        ("Extensions for runs", "What happens to a run", text),
        {"description": "Events, until the run has ended.", "content": STREAM},
        "400 404 429 503 default",
        parameters=[in_path("id", TEXT, "The run's id."), LOGS, LAST_EVENT_ID],
    )
    return {f"{TESP}/runs/{{id}}/events": {"get": follow}}


_COUNTS = (
    "How many of the tasks that you see are in which state; states without tasks are absent. Asking is "
    "cheap, "
    "however many tasks there are."
)
_DESTINATIONS = (
    "How the destinations are, as the server that answers knows them: what it runs there, and who waits. "
    "Why one "
    "fails, and where it is, is told to admins."
)


def _follow_all() -> Json:
    text = (
        "Server-sent events: `task` {id, state, attempt, at} for each of your tasks that comes into "
        "another state "
        "(of changes in quick succession, the last one), `counts` as ReadCounts, once a second at most, "
        "and `gap` "
        "where changes were missed: read the lists anew then, as after each connection."
    )
    answer = {"description": "Events, without end.", "content": STREAM}
    return extension("FollowTasks", "What changes among all tasks", text, answer)


def _list_rows() -> Json:
    text = (
        "Small rows for people to look at, newest first, without content. A page may be shorter than asked "
        "for, "
        "and not be the last: that one alone has no next_page_token."
    )
    size = {"type": "integer", "minimum": 1, "maximum": PAGE_SIZE_MAX, "default": ROWS_DEFAULT}
    several: Json = {"type": "array", "items": TEXT}
    parameters = [
        parameter("state", {"type": "array", "items": _STATE}, "One of these; may be repeated."),
        parameter("name_prefix", TEXT, "The name begins so."),
        parameter("tag_key", several, "May be repeated; all must be there."),
        parameter("tag_value", several, "The value of the tag_key at the same place; an empty one is any."),
        parameter("owner", TEXT, "Whose they are; another's only for admins."),
        parameter("destination", TEXT, "Where the last attempt went."),
        parameter("created_after", _MOMENT, "Not before that time."),
        parameter("created_before", _MOMENT, "Before that time."),
        parameter("page_size", size, "At most so many."),
        parameter("page_token", TEXT, "The next_page_token of the page before."),
    ]
    answer = in_json("A page of rows.", "TaskRows")
    return extension("ListRows", "Tasks as rows", text, answer, "400", parameters=parameters)


def _read_row() -> Json:
    text = (
        "The task's row. With `wait` the answer comes once the task is in another state than `state_not`, "
        "or has "
        "ended, or the time is over; without `state_not`, once its state or attempt changes."
    )
    parameters = [
        TASK_ID,
        parameter("wait", NUMBER_FROM_0 | {"maximum": WAIT_MAX_S}, "Seconds; 0 answers at once."),
        parameter("state_not", _STATE, "Wait for any other state."),
    ]
    summary, answer = "A task's row, or a wait for its change", in_json("The row.", "TaskRow")
    return extension("ReadRow", summary, text, answer, "400 404", parameters=parameters)
