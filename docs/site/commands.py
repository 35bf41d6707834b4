"""docs/reference/commands.md: every command of `tesp`, as typer knows it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer

from docs.site.tables import code, table
from tesp_api.cli.exits import EXIT_CODES
from tesp_api.cli.main import app

HEAD = """# Commands

What `tesp COMMAND --help` says, of all commands. [The command line](../howto/command-line.md) shows some
at work.

Most commands speak to a server: `--url` names it, and `--token-file` or `--user` say who you are there.
"""


_WORDS = {str: "TEXT", int: "INTEGER", float: "NUMBER", Path: "PATH", bool: "BOOLEAN"}


def commands_page() -> str:
    """The page."""
    parts = [HEAD, "## Exit codes\n", _exit_codes()]
    for name, command in commands(typer.main.get_command(app), "tesp"):
        parts += [f"## `{name}`\n", _text(command.help), f"```\n{_usage(name, command)}\n```\n"]
        arguments = [one for one in command.params if one.param_type_name == "argument"]
        parts.append(
            table(("argument", "means"), ((code(_metavar(one)), _help(one)) for one in arguments if one.help))
        )
        options = [
            one for one in command.params if one.param_type_name == "option" and "--help" not in one.opts
        ]
        rows = ((_names(one), _kind(one), _default(one), _help(one)) for one in options)
        parts.append(table(("option", "takes", "default", "means"), rows))
    return "\n".join(part for part in parts if part)


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All commands that do something, each with its whole name."""
    if not hasattr(command, "commands"):
        yield name, command
        return
    for word, inner in command.commands.items():
        yield from commands(inner, f"{name} {word}")


def _exit_codes() -> str:
    """The sentence that `--help` ends with, as a table."""
    said, _, ends = EXIT_CODES.removeprefix("Exit codes: ").partition(" Where tasks are waited for, ")
    rows = [one.partition(" ") for one in said.rstrip(".").split("; ")]
    worst = ends.partition(": ")[2].rstrip(".").split(", ")
    rows += [one.partition(" ") for one in worst if not one.startswith("0 ")]
    made = table(("code", "means"), ((code(number), meaning) for number, _, meaning in rows))
    return f"{made}\nOf several tasks, the worst end decides: the order is that of the table.\n"


def _usage(name: str, command: Any) -> str:
    arguments = [_metavar(one) for one in command.params if one.param_type_name == "argument"]
    return " ".join([name, "[OPTIONS]", *arguments])


def _metavar(one: Any) -> str:
    name = (one.metavar or one.name or "").upper()
    name = f"{name}..." if one.nargs == -1 else name
    return name if one.required else f"[{name}]"


def _names(one: Any) -> str:
    return ", ".join(code(name) for name in (*one.opts, *one.secondary_opts))


def _kind(one: Any) -> str:
    if one.is_flag:
        return ""
    kind = one.metavar or _WORDS[_inner(one.type_descriptor.annotation)]
    return code(kind) + (", may be repeated" if one.multiple else "")


def _inner(annotation: Any) -> Any:
    """The type of one value, where an option takes several or none."""
    inner = [one for one in get_args(annotation) if one is not type(None)]
    return _inner(inner[0]) if inner else annotation


def _default(one: Any) -> str:
    if one.is_flag or one.default is None or callable(one.default):
        return ""
    return code(str(one.default))


def _help(one: Any) -> str:
    said = _text(getattr(one, "help", "") or "").strip()
    variable = getattr(one, "envvar", None)
    return f"{said} In the environment: {code(str(variable))}." if variable else said


def _text(text: str | None) -> str:
    """Help as Markdown: as it is, without what only a terminal needs."""
    return (text or "").replace("\b", "").replace("\f", "").strip() + "\n"
