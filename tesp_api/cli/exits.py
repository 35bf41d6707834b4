"""The exit codes of `tesp`, and the one exception that ends a command with a message."""

from enum import IntEnum


class Exit(IntEnum):
    """What the shell is told."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    TIMED_OUT = 4
    EXECUTOR_ERROR = 10
    SYSTEM_ERROR = 11
    CANCELED = 12
    PREEMPTED = 13


EXIT_CODES = (
    "Exit codes: 0 all is well; 1 the command failed, or the server refused it; 2 wrong usage or wrong "
    "settings; 3 the server cannot be reached; 4 the time given to wait is over. Where tasks are waited "
    "for, the worst end decides: 11 SYSTEM_ERROR, 10 EXECUTOR_ERROR, 13 PREEMPTED, 12 CANCELED, "
    "0 all COMPLETE."
)

_WORST_FIRST = (Exit.SYSTEM_ERROR, Exit.EXECUTOR_ERROR, Exit.PREEMPTED, Exit.CANCELED)


class CommandFailed(Exception):
    """Ends the command: the message goes to stderr, the code to the shell."""

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        self.code = code
        super().__init__(message)


def exit_for_states(states: list[str]) -> Exit:
    """The code for tasks that have ended so: the worst of them decides."""
    return next((code for code in _WORST_FIRST if code.name in states), Exit.OK)
