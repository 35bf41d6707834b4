"""`tesp top`: what runs now, where, and what waits."""

from typing import Annotated

import typer

from tesp_api.cli.task import DEFAULT_URL, TokenFile, Url, User, open_client


def top(
    once: Annotated[bool, typer.Option("--once", help="Show it once, and stop.")] = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """Show what runs, where, and what waits, as it changes; Ctrl-C stops it."""
    from tesp_api.cli.watch import show_top

    with open_client(url, user, token_file) as client:
        show_top(client, once=once)
