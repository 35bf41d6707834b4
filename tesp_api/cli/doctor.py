"""`tesp doctor`: is everything there that the server needs, and how to mend what is not."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from tesp_api.cli.exits import CommandFailed, Exit
from tesp_api.cli.serve import AllowBubblewrap, Data, read_settings

if TYPE_CHECKING:
    from tesp_api.cli.check import Check

_MARKS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}


def doctor(
    data: Data = None,
    allow_bubblewrap: AllowBubblewrap = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check settings, data folder, store, Pulsar and container runtimes; exit code 1 if anything fails."""
    from tesp_api.cli.check import Check
    from tesp_api.cli.checks import check_everything
    from tesp_api.cli.output import print_json

    try:
        settings = read_settings(data, allow_bubblewrap)
        checks = [Check("settings", "ok", "valid"), *check_everything(settings)]
    except CommandFailed as error:
        checks = [Check("settings", "fail", str(error), "correct what is named here")]
    healthy = all(check.level != "fail" for check in checks)
    if as_json:
        print_json({"healthy": healthy, "checks": [asdict(check) for check in checks]})
    else:
        _print(checks)
    if not healthy:
        raise typer.Exit(Exit.FAILED)


def _print(checks: "list[Check]") -> None:
    from rich.text import Text

    from tesp_api.cli.output import console

    out = console()
    for check in checks:
        out.print(Text.assemble(_MARKS[check.level], f"  {check.name}: {check.found}"))
        if check.mend:
            out.print(Text(f"      → {check.mend}", "bold"))
