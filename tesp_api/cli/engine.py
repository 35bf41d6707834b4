"""`tesp engine`: the workflow engines of the server on this machine."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tesp_api.cli.exits import CommandFailed, Exit
from tesp_api.cli.serve import Data

if TYPE_CHECKING:
    from tesp_api.settings import Settings
    from tesp_api.wes.engines.environments import EngineEnvironment

app = typer.Typer(
    no_args_is_help=True,
    help="Install and list the workflow engines of the server on this machine.",
    pretty_exceptions_enable=False,
)


@app.command()
def install(
    name: Annotated[str, typer.Argument(help="Which engine: cwl or snakemake.")],
    data: Data = None,
) -> None:
    """Install an engine into an environment of its own, from package versions that are locked by hashes.

    Does nothing if it is there. A running server needs no restart.
    """
    from tesp_api.errors import EngineUnusable

    known = _environments(data)
    if name not in known:
        raise CommandFailed(f"there is no engine {name!r}: there are {', '.join(known)}", Exit.USAGE)
    environment = known[name]
    is_new = not environment.is_installed
    if is_new:
        typer.echo(f"installing {name} into {environment.folder}", err=True)
    try:
        environment.install()
    except EngineUnusable as error:
        raise CommandFailed(f"{name} is not installed: {error}") from None
    done = "is installed" if is_new else "was installed already"
    typer.echo(f"{name} {done}: {environment.package} {environment.version}")


@app.command("list")
def list_engines(
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the engines that there are, which of them are installed, and where."""
    from rich.table import Table

    from tesp_api.cli.output import console, print_json

    rows = [_row(environment) for environment in _environments(data).values()]
    if as_json:
        print_json({"engines": rows})
        return
    table = Table(box=None, pad_edge=False)
    for title in ("engine", "version", "folder"):
        table.add_column(title)
    for row in rows:
        table.add_row(row["name"], row["version"] or "not installed", row["folder"])
    console().print(table)
    for old in (one for row in rows for one in row["others"]):
        console(stderr=True).print(
            f"{old} is of another version of the server, or half made: it may be removed"
        )


def _row(environment: "EngineEnvironment") -> dict[str, Any]:
    return {
        "name": environment.name,
        "version": environment.version,
        "folder": str(environment.folder),
        "others": [str(path) for path in environment.others],
    }


def _environments(data: Any) -> "dict[str, EngineEnvironment]":
    from tesp_api.cli.serve import read_settings

    return engine_environments(read_settings(data, False))


def engine_environments(settings: "Settings") -> "dict[str, EngineEnvironment]":
    """That of each engine, by its name."""
    from tesp_api.wes.engines.cwl.engine import cwl_environment
    from tesp_api.wes.engines.snakemake.engine import snakemake_environment

    return {one.name: one for one in (cwl_environment(settings), snakemake_environment(settings))}
