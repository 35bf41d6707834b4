"""`tesp db`: the database of a server: look at it, upgrade it, copy it, put a copy back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tesp_api.cli.exits import Exit
from tesp_api.cli.serve import Data, read_settings

if TYPE_CHECKING:
    from tesp_api.store.upkeep import Inspection

app = typer.Typer(
    no_args_is_help=True,
    help="Check, upgrade, back up and restore the database of the server on this machine.",
    pretty_exceptions_enable=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def check(data: Data = None, as_json: AsJson = False) -> None:
    """Say which store the settings name, its schema, whether it is whole, and what is in it.

    Reads all of an embedded database; a server may run. Nothing in it is changed, but after a crash SQLite
    puts what it keeps beside the file into it. Exit code 1 if it is not whole, or newer than this program.
    """
    from tesp_api.cli.backups import inspect_store
    from tesp_api.cli.output import print_json

    settings = read_settings(data, False)
    seen = inspect_store(settings)
    is_usable = not seen.faults and seen.standing != "newer"
    if as_json:
        print_json(_as_json(settings.store.kind, seen) | {"usable": is_usable})
    else:
        _print(seen)
    if not is_usable:
        raise typer.Exit(Exit.FAILED)


@app.command()
def upgrade(
    data: Data = None,
    no_backup: Annotated[
        bool, typer.Option("--no-backup", help="Keep no copy of an embedded database as it was.")
    ] = False,
) -> None:
    """Bring the database to this program's schema, as its next start would do. Servers must be stopped.

    An embedded database is copied first, into a file beside it. A MongoDB is not: call tesp db backup before.
    """
    from tesp_api.cli.backups import upgrade_store

    done = upgrade_store(read_settings(data, False), keep_copy=not no_backup)
    if done.kept is not None:
        typer.echo(f"the database as it was is kept in {done.kept}")
    if done.before == done.after:
        typer.echo(f"nothing to do: the database has schema {done.after}, as this tesp")
    else:
        typer.echo(f"upgraded from schema {done.before} to {done.after}")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="The file to write.")],
    data: Data = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if there is one.")] = False,
) -> None:
    """Copy tasks, logs, runs, users, tokens and the server's key of this moment into one file.

    Servers may run. The file is as secret as the data folder. Files of tasks and of runs are not in it.
    """
    from tesp_api.cli.backups import make_backup
    from tesp_api.store.upkeep import in_words

    made = make_backup(read_settings(data, False), file, force=force)
    typer.echo(f"{file}: {in_words(made.counts)}; {made.size_bytes / 1e6:.1f} MB")
    if not made.is_exact:
        typer.echo(
            "warning: this MongoDB stands alone, so what servers wrote meanwhile may be there in part: "
            "stop them during backups, or make it a replica set",
            err=True,
        )
    for warning in made.warnings:
        typer.echo(f"warning: {warning}", err=True)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="A file that tesp db backup made.")],
    data: Data = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also where there is something: SQLite's files are moved, a MongoDB is emptied."
        ),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="All servers of the MongoDB database are stopped; do it.")
    ] = False,
) -> None:
    """Put a backup in place of the database, once it is known to be whole. Servers must be stopped.

    The kind of store must be that of the backup. At the next start tasks that were live then are taken up.
    A data folder that is not there is made only if --data names it.
    """
    from tesp_api.cli.backups import restore_backup
    from tesp_api.store.upkeep import in_words

    settings = read_settings(data, False)
    done = restore_backup(settings, file, force=force, yes=yes, make_folder=data is not None)
    typer.echo(f"restored to {done.place}, as of {done.created_at}: {in_words(done.counts)}")
    if done.aside is not None:
        typer.echo(f"what was there before is in {done.aside}")
    for warning in done.warnings:
        typer.echo(f"warning: {warning}", err=True)


def _as_json(kind: str, seen: "Inspection") -> dict[str, Any]:
    return {
        "store": kind,
        "place": seen.place,
        "schema": seen.schema,
        "newest": seen.newest,
        "standing": seen.standing,
        "faults": list(seen.faults),
        "notes": list(seen.notes),
        "tasks": dict(seen.tasks),
        "runs": dict(seen.runs),
        "users": seen.users,
        "tokens": seen.tokens,
    }


_STANDING = {
    "none": "there is none yet: the first start makes it",
    "older": "older than this tesp ({newest}): `tesp db upgrade`, or the next start, brings it there",
    "current": "that of this tesp",
    "newer": "NEWER than this tesp ({newest}): use the tesp that made it",
}


def _print(seen: "Inspection") -> None:
    from tesp_api.cli.output import console

    out = console()
    out.print(f"store   {seen.place}")
    for note in seen.notes:
        out.print(f"        {note}")
    if seen.schema is not None:
        out.print(f"schema  {seen.schema}, {_STANDING[seen.standing].format(newest=seen.newest)}")
    elif not seen.faults:
        out.print(f"schema  {_STANDING['none']}")
    for fault in seen.faults:
        out.print(f"FAULT   {fault}")
    if not seen.faults and seen.schema is not None:
        out.print("whole   yes")
    for name, counts in (("tasks", seen.tasks), ("runs", seen.runs)):
        states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        out.print(f"{name:7} {sum(counts.values())}{f': {states}' if states else ''}")
    out.print(f"users   {seen.users}, with {seen.tokens} tokens")
