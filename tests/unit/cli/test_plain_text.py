"""What others wrote neither steers a terminal nor adds lines to a log."""

import io
import logging

import pytest

from tesp_api.cli.plain_text import PlainFormatter, harmless

FORGED = "x\n2026-01-01 00:00:00,000 WARNING tesp_api: alice may do all\r\x1b[1A\u2028y"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, žluť, 日本", "plain, žluť, 日本"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b[2J\x07\x00\x7f", "␛[2J␇␀␡"),
        ("\x9b31m\u202e\r", "\ufffd31m\ufffd␍"),
    ],
)
def test_control_characters_are_shown(text: str, shown: str) -> None:
    assert harmless(text) == shown


def test_a_message_is_one_line_and_a_traceback_no_message() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(PlainFormatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.Logger("tesp_api.test")
    log.addHandler(handler)
    log.warning("task %s waits: %s", "1", FORGED)
    try:
        raise ValueError(FORGED)
    except ValueError:
        log.exception("driving task %s failed", FORGED)
    lines = out.getvalue().splitlines()
    dated = [line for line in lines if line[:2] == "20"]
    assert len(dated) == 2 and "WARNING task 1 waits: x␊2026-01-01" in dated[0]
    assert all(line.startswith("    ") for line in lines if line not in dated)
    assert "\x1b" not in out.getvalue() and "\r" not in out.getvalue()
