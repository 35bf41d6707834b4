"""`tesp user`: the users of a server that have passwords and tokens there."""

from typing import Annotated, Any

import typer

from tesp_api.cli.exits import CommandFailed, Exit
from tesp_api.cli.serve import Data

app = typer.Typer(
    no_args_is_help=True,
    help="Add, change, list and remove the users of the server on this machine, by its store.",
    pretty_exceptions_enable=False,
)

Name = Annotated[str, typer.Argument(help="What the user is called.")]
Groups = Annotated[
    list[str] | None, typer.Option("--group", help="A group, whose members share their tasks; repeatable.")
]


@app.command()
def add(
    name: Name,
    group: Groups = None,
    admin: Annotated[bool, typer.Option("--admin", help="Sees everybody's tasks.")] = False,
    no_password: Annotated[bool, typer.Option("--no-password", help="Uses tokens alone.")] = False,
    data: Data = None,
) -> None:
    """Add a user. The password is asked for, or is the first line of standard input."""
    from tesp_api.api.auth.passwords import hash_password
    from tesp_api.cli.accounts import read_new_password, with_accounts
    from tesp_api.store.accounts import User
    from tesp_api.tes.times import now

    _check_name(name)
    groups = _checked(group or [])
    password_hash = "" if no_password else hash_password(read_new_password())
    user = User(name, now(), password_hash, groups, admin)
    with_accounts(data, lambda accounts: accounts.add_user(user), action="add a user", user=name)
    typer.echo(f"{name} added")


@app.command()
def passwd(name: Name, data: Data = None) -> None:
    """Set a user's password, which is asked for, or is the first line of standard input."""
    from tesp_api.api.auth.passwords import hash_password
    from tesp_api.cli.accounts import read_new_password, with_accounts

    password_hash = hash_password(read_new_password())
    with_accounts(
        data,
        lambda accounts: accounts.change_user(name, password_hash=password_hash),
        action="set a password",
        user=name,
    )
    typer.echo(f"{name} has a new password")


@app.command()
def change(
    name: Name,
    group: Groups = None,
    no_groups: Annotated[bool, typer.Option("--no-groups", help="Leaves all groups.")] = False,
    admin: Annotated[bool | None, typer.Option("--admin/--no-admin", help="Sees everybody's tasks.")] = None,
    data: Data = None,
) -> None:
    """Put a user into other groups (all that are to hold), or make or unmake an admin."""
    from tesp_api.cli.accounts import with_accounts

    if group and no_groups:
        raise CommandFailed("--group and --no-groups exclude each other", Exit.USAGE)
    groups = _checked(group or []) if group or no_groups else None
    with_accounts(
        data,
        lambda accounts: accounts.change_user(name, groups=groups, is_admin=admin),
        action="change a user",
        user=name,
    )
    typer.echo(f"{name} changed")


@app.command()
def remove(name: Name, data: Data = None) -> None:
    """Remove a user, with all tokens. The tasks stay, and are those of the next user of the same name."""
    from tesp_api.cli.accounts import with_accounts

    with_accounts(data, lambda accounts: accounts.remove_user(name), action="remove a user", user=name)
    typer.echo(f"{name} removed")


@app.command("list")
def list_users(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    data: Data = None,
) -> None:
    """List the users."""
    from tesp_api.cli.accounts import with_accounts
    from tesp_api.cli.output import print_json, print_rows
    from tesp_api.tes.times import rfc3339

    users = with_accounts(data, lambda accounts: accounts.list_users())
    if as_json:
        shown: list[dict[str, Any]] = [
            {
                "name": user.name,
                "groups": list(user.groups),
                "admin": user.is_admin,
                "password": bool(user.password_hash),
                "created": rfc3339(user.created_at),
            }
            for user in users
        ]
        print_json({"users": shown})
        return
    rows = [
        (
            user.name,
            ", ".join(user.groups),
            "admin" if user.is_admin else "",
            "password" if user.password_hash else "tokens alone",
        )
        for user in users
    ]
    print_rows(("NAME", "GROUPS", "ROLE", "LOGS IN WITH"), rows, "there are no users")


def _check_name(name: str) -> None:
    from tesp_api.api.auth.identity import ANYBODY
    from tesp_api.store.accounts import USER_NAME

    if name == ANYBODY:
        raise CommandFailed(f"{name!r} is who sends tasks where nobody logs in: choose another", Exit.USAGE)
    if not USER_NAME.fullmatch(name):
        raise CommandFailed(
            f"{name!r} is no name for a user: 1 to 64 letters, digits and . _ - + @", Exit.USAGE
        )


def _checked(groups: list[str]) -> tuple[str, ...]:
    from tesp_api.store.accounts import GROUP_NAME

    for group in groups:
        if not GROUP_NAME.fullmatch(group):
            raise CommandFailed(
                f"{group!r} is no name for a group: 1 to 128 visible ASCII characters", Exit.USAGE
            )
    return tuple(sorted(set(groups)))
