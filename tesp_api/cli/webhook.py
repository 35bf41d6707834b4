"""`tesp webhook`: who is told of states by a server's settings, and whether that works."""

import typer

from tesp_api.cli.exits import CommandFailed
from tesp_api.cli.task import DEFAULT_URL, Json, TokenFile, Url, User, open_client

app = typer.Typer(
    no_args_is_help=True,
    help="List and try the webhooks that a server's settings have; for admins.",
    pretty_exceptions_enable=False,
)


@app.command("list")
def list_webhooks(
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """List the receivers: what waits for each, and how the last try ended."""
    from tesp_api.cli.output import print_json, print_rows

    with open_client(url, user, token_file) as client:
        found = client.webhooks()
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["name"],
            one["place"],
            ", ".join(one["states"]) or "all",
            f"{one['waiting']:,}",
            one.get("said", ""),
        )
        for one in found["receivers"]
    ]
    print_rows(("NAME", "TO", "STATES", "WAITING", "LAST TRY"), rows, "the settings name no receivers")


@app.command()
def test(
    name: str = typer.Argument(help="The receiver's name in the settings."),
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """Have the server send a test message, and say how it was taken; fails if it was not."""
    from tesp_api.cli.output import print_json

    with open_client(url, user, token_file) as client:
        answer = client.test_webhook(name)
    if as_json:
        print_json(answer)
    elif answer["delivered"]:
        typer.echo(f"{name} has taken it: {answer['said']}")
    if not answer["delivered"]:
        raise CommandFailed(f"{name} has not taken it: {answer['said']}")
