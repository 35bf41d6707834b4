"""What `tesp user` and `tesp token` share: they work on the server's store, whether or not the server
runs."""

import asyncio
import getpass
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from tesp_api.cli.exits import CommandFailed, Exit
from tesp_api.cli.serve import read_settings
from tesp_api.store.accounts import Accounts

T = TypeVar("T")


def with_accounts(data: Path | None, work: Callable[[Accounts], Awaitable[T]], **audited: str) -> T:
    """Do `work` on the accounts that the settings name, and end with a message where that fails.

    What is `audited` of it goes to the audit log, with the name of the machine's user.
    """
    from tesp_api.app import build_accounts
    from tesp_api.audit_log import AuditLog
    from tesp_api.errors import TespError

    settings = read_settings(data, False)

    async def run() -> T:
        accounts = build_accounts(settings)
        await accounts.open()
        try:
            return await work(accounts)
        finally:
            await accounts.aclose()

    outcome = "refused"
    try:
        done = asyncio.run(run())
        outcome = "done"
        return done
    except TespError as error:
        raise CommandFailed(str(error)) from None
    finally:
        if audited:
            log = AuditLog(settings)
            log.write(who=f"operator {operator_name()}", **audited, outcome=outcome)
            log.close()


def operator_name() -> str:
    """What the machine calls its user; a number where it has no name for it, as in containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the latter from Python 3.13 on
        return f"of uid {os.getuid()}"


def read_new_password() -> str:
    """A new password: asked for twice on a terminal, else the first line of standard input; never an
    argument, which every user of the machine can read."""
    from tesp_api.api.auth.passwords import LEAST_LENGTH, MOST_BYTES

    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise CommandFailed("the two are not the same")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if len(password) < LEAST_LENGTH:
        raise CommandFailed(f"a password has at least {LEAST_LENGTH} characters", Exit.USAGE)
    if len(password.encode("utf-8", "surrogateescape")) > MOST_BYTES:
        raise CommandFailed(f"a password has at most {MOST_BYTES} bytes", Exit.USAGE)
    try:
        password.encode()
    except UnicodeEncodeError:
        raise CommandFailed("the password is not UTF-8", Exit.USAGE) from None
    return password


def local_time(moment: datetime | None) -> str:
    """A time for people to read; "" for None."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M")
