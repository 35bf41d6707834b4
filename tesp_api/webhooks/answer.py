"""What receivers say."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of sending a message; `said` is for people and has no secrets."""

    is_taken: bool
    said: str
    is_gone: bool = False
    """The receiver does not want any more."""
