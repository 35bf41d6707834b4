"""`tesp task`: create, look at, follow, cancel and delete tasks on a server."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from tesp_api.cli.exits import EXIT_CODES, CommandFailed, Exit, exit_for_states
from tesp_api.tes.states import FINAL

if TYPE_CHECKING:
    from tesp_api.cli.client import TespClient

app = typer.Typer(
    no_args_is_help=True,
    help="Create, look at, follow, cancel and delete tasks.",
    epilog=EXIT_CODES,
    pretty_exceptions_enable=False,
)

Url = Annotated[str, typer.Option("--url", envvar="TESP_URL", help="Where the server is.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="TESP_TOKEN_FILE",
        help="A file with a token, which nobody else can read; or set TESP_TOKEN.",
    ),
]
User = Annotated[
    str | None,
    typer.Option(
        "--user", envvar="TESP_USER", help="A user's name; the password is TESP_PASSWORD, or is asked for."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
TaskId = Annotated[str, typer.Argument(metavar="ID")]
TaskIds = Annotated[list[str], typer.Argument(metavar="ID")]
Timeout = Annotated[
    float | None, typer.Option("--timeout", min=0, help="Give up waiting after so many seconds.")
]

DEFAULT_URL = "http://127.0.0.1:8080"


@app.command(epilog=EXIT_CODES)
def create(
    file: Annotated[str, typer.Argument(help="A TES task as JSON; - reads it from standard input.")],
    wait: Annotated[bool, typer.Option("--wait", help="Follow the task until it ends.")] = False,
    timeout: Timeout = None,
    patience: Annotated[
        float,
        typer.Option("--patience", min=0, help="Try again for so many seconds while a limit is reached."),
    ] = 0,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """Create a task and print its id."""
    from tesp_api.cli.follow import wait_for
    from tesp_api.cli.output import print_json

    task = _read_task(file)
    with open_client(url, user, token_file) as client:
        task_id = client.create(task, patience_s=patience)
        if not as_json:
            typer.echo(task_id)
        elif not wait:
            print_json({"id": task_id})
        if not wait:
            return
        wait_for(client, [task_id], timeout_s=timeout, with_bars=not as_json)
        final = client.get(task_id, "FULL")
    if as_json:
        print_json(final)
    _end([final])


@app.command()
def get(
    task_id: TaskId,
    view: Annotated[str, typer.Option(help="MINIMAL, BASIC or FULL.")] = "FULL",
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """Show a task."""
    from tesp_api.cli.output import print_json, print_task

    with open_client(url, user, token_file) as client:
        task = client.get(task_id, view.upper())
    (print_json if as_json else print_task)(task)


@app.command("list")
def list_tasks(
    state: Annotated[str | None, typer.Option(help="Only tasks in this state.")] = None,
    name_prefix: Annotated[str | None, typer.Option(help="Only tasks whose name begins so.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(metavar="KEY[=VALUE]", help="Only tasks with this tag; repeatable.")
    ] = None,
    page_size: Annotated[int, typer.Option(min=1, max=2047, help="Tasks on a page.")] = 50,
    every_page: Annotated[bool, typer.Option("--all", help="Show all pages, not only the first.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show the first page as it changes.")] = False,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """List tasks, newest first."""
    from tesp_api.cli.output import print_json, print_tasks

    if watch and (every_page or as_json):
        raise CommandFailed("--watch goes neither with --all nor with --json", Exit.USAGE)
    params = [("page_size", str(page_size))]
    params += [("state", state.upper())] if state else []
    params += [("name_prefix", name_prefix)] if name_prefix else []
    for one in tag or []:
        key, _, value = one.partition("=")
        params += [("tag_key", key), ("tag_value", value)]

    tasks: list[dict[str, Any]] = []
    next_token = ""
    with open_client(url, user, token_file) as client:
        if watch:
            from tesp_api.cli.watch import watch_tasks

            watch_tasks(client, params)
            return
        for page in client.pages([*params, ("view", "BASIC")]):
            tasks += page.get("tasks") or []
            next_token = page.get("next_page_token", "")
            if not every_page:
                break
    if as_json:
        print_json({"tasks": tasks} | ({"next_page_token": next_token} if next_token else {}))
    else:
        print_tasks(tasks, more=bool(next_token))


@app.command(epilog=EXIT_CODES)
def wait(
    task_ids: TaskIds,
    timeout: Timeout = None,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """Wait until the tasks have ended, and show their states as they change, and how far transfers are."""
    from tesp_api.cli.follow import wait_for
    from tesp_api.cli.output import print_final_states, print_json

    with open_client(url, user, token_file) as client:
        wait_for(client, task_ids, timeout_s=timeout, with_bars=not as_json)
        view = "FULL" if as_json else "MINIMAL"
        tasks = [client.get(task_id, view) for task_id in task_ids]
    if as_json:
        print_json({"tasks": tasks})
    else:
        print_final_states(tasks)
    _end(tasks)


@app.command()
def logs(
    task_id: TaskId,
    executor: Annotated[int | None, typer.Option(min=0, help="Only this executor, from 0.")] = None,
    only_stdout: Annotated[bool, typer.Option("--stdout", help="Only its stdout.")] = False,
    only_stderr: Annotated[bool, typer.Option("--stderr", help="Only its stderr, on our stdout.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the task ends.")] = False,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """Print what the executors wrote, byte for byte, also while they run.

    Their stdout goes to our stdout and their stderr to our stderr, unless one of the two is chosen.
    """
    from tesp_api.cli.follow import copy_logs
    from tesp_api.cli.output import print_json

    if only_stdout and only_stderr:
        raise CommandFailed("--stdout and --stderr exclude each other: leave both out for both", Exit.USAGE)
    streams = ["stderr"] if only_stderr else ["stdout"] if only_stdout else ["stdout", "stderr"]
    kept: dict[int, dict[str, bytes]] = {}

    def keep(number: int, stream: str, data: bytes) -> None:
        kept.setdefault(number, dict.fromkeys(streams, b""))[stream] += data

    def write(number: int, stream: str, data: bytes) -> None:
        target = sys.stderr if stream == "stderr" and len(streams) == 2 else sys.stdout
        target.buffer.write(data)
        target.flush()

    with open_client(url, user, token_file) as client:
        copy_logs(client, task_id, executor, streams, keep if as_json else write, follow=follow)
    if as_json:
        texts = [
            {"executor": number} | {stream: data.decode(errors="replace") for stream, data in one.items()}
            for number, one in sorted(kept.items())
        ]
        print_json({"id": task_id, "logs": texts})


@app.command()
def cancel(
    task_ids: TaskIds,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """Cancel tasks; those that have ended stay as they are."""
    from tesp_api.cli.output import print_final_states, print_json

    tasks = []
    with open_client(url, user, token_file) as client:

        def cancel_one(task_id: str) -> None:
            client.cancel(task_id)
            tasks.append(client.get(task_id))

        refused = _do_for_each(task_ids, cancel_one)
    if as_json:
        print_json({"tasks": tasks})
    else:
        print_final_states(tasks)
    _fail_if(refused)


@app.command()
def delete(
    task_ids: TaskIds,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """Delete tasks that have ended, with their histories and logs."""
    from tesp_api.cli.output import print_json

    deleted = []
    with open_client(url, user, token_file) as client:

        def delete_one(task_id: str) -> None:
            client.delete(task_id)
            deleted.append(task_id)

        refused = _do_for_each(task_ids, delete_one)
    if as_json:
        print_json({"deleted": deleted})
    else:
        for task_id in deleted:
            typer.echo(f"{task_id} deleted")
    _fail_if(refused)


@app.command()
def validate(
    file: Annotated[str, typer.Argument(help="A TES task as JSON; - reads it from standard input.")],
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """Tell what would become of a task, without creating it."""
    from tesp_api.cli.output import print_json, print_report

    task = _read_task(file)
    with open_client(url, user, token_file) as client:
        report = client.validate(task)
    (print_json if as_json else print_report)(report)
    if not report["valid"]:
        raise typer.Exit(Exit.FAILED)


def open_client(url: str, user: str | None, token_file: Path | None) -> "TespClient":
    """A client that sends who we are."""
    from tesp_api.cli.client import TespClient
    from tesp_api.cli.login import read_login

    login = read_login(user, token_file)
    client = TespClient(url, login)
    if login.header is not None and client.is_in_the_clear:
        typer.echo(f"tesp: warning: the login goes to {client.url} without TLS", err=True)
    return client


def _do_for_each(task_ids: list[str], do: Callable[[str], None]) -> list[str]:
    """Do it for all tasks, also after one for which the server refuses it; returns the refusals."""
    refused = []
    for task_id in task_ids:
        try:
            do(task_id)
        except CommandFailed as error:
            if error.code is not Exit.FAILED:
                raise
            refused.append(str(error))
    return refused


def _fail_if(refused: list[str]) -> None:
    if refused:
        raise CommandFailed("; ".join(refused))


def _end(tasks: list[dict[str, Any]]) -> NoReturn:
    """Leave with the exit code for these tasks, which were waited for."""
    late = [f"{task['id']} ({task['state']})" for task in tasks if task["state"] not in FINAL]
    if late:
        raise CommandFailed(f"the time is over; not ended: {', '.join(late)}", Exit.TIMED_OUT)
    raise typer.Exit(exit_for_states([task["state"] for task in tasks]))


def _read_task(file: str) -> dict[str, Any]:
    name = "standard input" if file == "-" else file
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        task = json.loads(text)
    except json.JSONDecodeError as error:
        raise CommandFailed(f"{name} is not valid JSON: {error}") from None
    if not isinstance(task, dict):
        raise CommandFailed(f"{name} holds no JSON object, so no task")
    return task
