"""`tesp token`: API tokens of a server's users."""

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from tesp_api.cli.exits import CommandFailed, Exit
from tesp_api.cli.serve import Data

if TYPE_CHECKING:
    from tesp_api.api.auth.identity import Action

app = typer.Typer(
    no_args_is_help=True,
    help="Create, list and revoke API tokens of the server on this machine, by its store.",
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@app.command()
def create(
    user: Annotated[str, typer.Argument(help="Whose token it is: a user that `tesp user add` has made.")],
    expires: Annotated[
        str, typer.Option(help="How long it is good: 30m, 12h, 90d, 52w, or never.", metavar="TIME")
    ] = "90d",
    scope: Annotated[
        str, typer.Option(help="What it is good for: of read, submit, cancel, delete; with commas.")
    ] = "read,submit,cancel,delete",
    note: Annotated[str, typer.Option(help="What it is for; shown in the list.")] = "",
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Create a token and print it. It is shown once: the server keeps only what can check it."""
    from tesp_api.api.auth.api_tokens import new_token
    from tesp_api.cli.accounts import local_time, with_accounts
    from tesp_api.cli.output import print_json
    from tesp_api.tes.times import rfc3339

    ends_at = _end_of(expires)
    text, token = new_token(user, _scopes_in(scope), ends_at, note)
    with_accounts(
        data, lambda accounts: accounts.add_token(token), action="create a token", user=user, token=token.id
    )
    if as_json:
        print_json({"id": token.id, "token": text, "expires": None if ends_at is None else rfc3339(ends_at)})
        return
    until = "until it is revoked" if ends_at is None else f"until {local_time(ends_at)}"
    typer.echo(f"token {token.id} of {user}, good for {', '.join(token.scopes)} {until}", err=True)
    typer.echo(text)


@app.command("list")
def list_tokens(as_json: Json = False, data: Data = None) -> None:
    """List the tokens, without what is secret in them."""
    from tesp_api.cli.accounts import local_time, with_accounts
    from tesp_api.cli.output import print_json, print_rows
    from tesp_api.tes.times import now, rfc3339

    tokens = with_accounts(data, lambda accounts: accounts.list_tokens())
    if as_json:
        shown = [
            {
                "id": token.id,
                "user": token.user,
                "scopes": list(token.scopes),
                "created": rfc3339(token.created_at),
                "expires": None if token.expires_at is None else rfc3339(token.expires_at),
                "note": token.note,
            }
            for token in tokens
        ]
        print_json({"tokens": shown})
        return
    rows = [
        (
            token.id,
            token.user,
            ",".join(token.scopes),
            local_time(token.created_at),
            _shown_end(token.expires_at, now()),
            token.note,
        )
        for token in tokens
    ]
    print_rows(("ID", "USER", "SCOPES", "CREATED", "EXPIRES", "NOTE"), rows, "there are no tokens")


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(help="The token's id, as the list shows it.")], data: Data = None
) -> None:
    """Revoke a token. Servers that run refuse it within seconds (`auth.revoked_within_s`)."""
    from tesp_api.cli.accounts import with_accounts

    with_accounts(
        data, lambda accounts: accounts.remove_token(token_id), action="revoke a token", token=token_id
    )
    typer.echo(f"{token_id} revoked")


def _end_of(expires: str) -> datetime | None:
    from tesp_api.tes.times import now

    if expires == "never":
        return None
    form = re.fullmatch(r"([1-9]\d{0,5})([mhdw])", expires)
    if form is None:
        raise CommandFailed(f"{expires!r} is no time: say 30m, 12h, 90d, 52w, or never", Exit.USAGE)
    try:
        return now() + timedelta(**{_UNITS[form[2]]: int(form[1])})
    except OverflowError:
        raise CommandFailed(f"{expires!r} is beyond the calendar: say never", Exit.USAGE) from None


def _scopes_in(scope: str) -> "list[Action]":
    from tesp_api.api.auth.identity import Action

    names = [name.strip() for name in scope.split(",") if name.strip()]
    unknown = [name for name in names if name not in set(Action)]
    if unknown or not names:
        raise CommandFailed(
            f"there is no scope {', '.join(unknown) or scope!r}: choose of {', '.join(Action)}", Exit.USAGE
        )
    return [Action(name) for name in names]


def _shown_end(ends_at: datetime | None, moment: datetime) -> str:
    from tesp_api.cli.accounts import local_time

    if ends_at is None:
        return "never"
    return f"{local_time(ends_at)} (over)" if ends_at <= moment else local_time(ends_at)
