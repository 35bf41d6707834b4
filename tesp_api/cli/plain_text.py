"""Texts of others, on their way to a terminal or into a log: control characters are shown, not obeyed."""

import logging
import re

CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_BREAKS = re.compile(r"[\t\n]")
_PICTURES = {chr(code): chr(0x2400 + code) for code in range(0x20)} | {"\x7f": "\u2421"}


def harmless(text: str) -> str:
    """The text with signs in the place of control characters, but for tabs and line breaks."""
    return CONTROLS.sub(_picture, text)


class PlainFormatter(logging.Formatter):
    """A line for each message; those of a traceback are indented, so that none can pass for a message."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line, whatever the message holds."""
        record.message = _BREAKS.sub(_picture, harmless(record.message))
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:  # noqa: N802 - logging's name
        """The traceback."""
        text = super().formatException(ei)  # type: ignore[arg-type]
        return "\n".join(f"    {harmless(line)}" for line in text.split("\n"))


def _picture(found: re.Match[str]) -> str:
    return _PICTURES.get(found[0], "\ufffd")
