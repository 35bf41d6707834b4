"""`tesp run`: submit workflow runs, look at them, follow and cancel them, fetch what they made."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from tesp_api.cli.exits import EXIT_CODES, CommandFailed, Exit, exit_for_states
from tesp_api.cli.task import DEFAULT_URL, Json, Timeout, TokenFile, Url, User, open_client
from tesp_api.tes.states import FINAL

if TYPE_CHECKING:
    from tesp_api.cli.run_client import RunClient

app = typer.Typer(
    no_args_is_help=True,
    help="Submit workflow runs, look at them, follow and cancel them, fetch what they made.",
    epilog=EXIT_CODES,
    pretty_exceptions_enable=False,
)

RunId = Annotated[str, typer.Argument(metavar="ID")]
RunIds = Annotated[list[str], typer.Argument(metavar="ID")]

_TYPES = {".cwl": ("CWL", "v1.2"), ".wdl": ("WDL", "1.0"), ".nf": ("NFL", "DSL2")}
_SNAKEMAKE = ("SMK", "9")


@app.command(epilog=EXIT_CODES)
def submit(
    workflow: Annotated[str, typer.Argument(help="A file, with what it names attached, or a URL.")],
    params: Annotated[
        str | None,
        typer.Argument(help="Its inputs: YAML or JSON in a file, or JSON. Local files are attached."),
    ] = None,
    attach: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE[=NAME]", help="Send this file or folder along; repeatable."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--type", help="The language, if the name does not say.")
    ] = None,
    version: Annotated[
        str | None, typer.Option("--type-version", help="Its version, if the file does not say.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="Which engine, of several.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Tell the engine this; repeatable.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="ID", help="Take over what this earlier run has finished.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Repeatable.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run until it ends.")] = False,
    timeout: Timeout = None,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """Start a run and print its id; with --wait, its outputs when it has ended."""
    from tesp_api.cli import attachments
    from tesp_api.cli.output import print_json
    from tesp_api.cli.run_client import form_fields
    from tesp_api.cli.run_output import print_end
    from tesp_api.cli.run_tree import watch
    from tesp_api.cli.snakefiles import is_snakefile, snakefile_with_its_files, workflow_folder

    given, params_folder = attachments.read_params(params)
    if is_snakefile(workflow) and "://" not in workflow:
        found, base = snakefile_with_its_files(workflow, given), workflow_folder(workflow)
    else:
        found = attachments.workflow_with_its_files(workflow)
        base = Path(workflow.partition("#")[0]).resolve().parent
    by_hand = attachments.attached_by_hand(attach or [], base)
    told, inputs = attachments.params_with_files(given, params_folder)
    language, of_language = _language(workflow, kind, version)
    request = {
        "workflow_type": language,
        "workflow_type_version": of_language,
        "workflow_url": found.workflow_url,
        "workflow_params": told,
        "workflow_engine": engine,
        "workflow_engine_parameters": _pairs(parameter) | ({"resume": resume} if resume else {}),
        "tags": _pairs(tag),
    }
    with _runs(url, user, token_file) as runs:
        run_id = runs.submit(form_fields(request), {**found.files, **by_hand, **inputs})
        if not as_json:
            typer.echo(run_id)
        elif not wait:
            print_json({"run_id": run_id})
        if not wait:
            return
        state = watch(runs, run_id, timeout_s=timeout, with_tree=not as_json)
        final = runs.get(run_id)
    if as_json:
        print_json(final)
    else:
        print_end(final)
    _end(run_id, state)


@app.command("list")
def list_runs(
    page_size: Annotated[int, typer.Option(min=1, max=2047, help="Runs on a page.")] = 50,
    every_page: Annotated[bool, typer.Option("--all", help="Show all pages, not only the first.")] = False,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """List runs, newest first."""
    from tesp_api.cli.output import local_time, print_json, print_states

    found: list[dict[str, Any]] = []
    more = ""
    with _runs(url, user, token_file) as runs:
        for page in runs.pages(page_size):
            found += page["runs"]
            more = page["next_page_token"]
            if not every_page:
                break
    if as_json:
        print_json({"runs": found, "next_page_token": more})
        return
    rows = [
        (
            run["run_id"],
            run["state"],
            local_time(run.get("start_time")),
            local_time(run.get("end_time")),
            " ".join(f"{key}={value}" for key, value in run["tags"].items()),
        )
        for run in found
    ]
    print_states(("RUN", "STATE", "STARTED", "ENDED", "TAGS"), rows, "there are no runs", more=bool(more))


@app.command()
def get(
    run_id: RunId,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """Show a run."""
    from tesp_api.cli.output import print_json
    from tesp_api.cli.run_output import print_run

    with _runs(url, user, token_file) as runs:
        run = runs.get(run_id)
        steps = runs.steps(run_id)[1] if not as_json else []
    if as_json:
        print_json(run)
    else:
        print_run(run, steps)


@app.command()
def tasks(
    run_id: RunId,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """List a run's steps, which are tasks; `tesp task` tells all of each."""
    from tesp_api.cli.output import print_json, print_states

    with _runs(url, user, token_file) as runs:
        shown = runs.tasks(run_id)
        states = {step["task_id"]: step for step in runs.steps(run_id)[1]} if not as_json else {}
    if as_json:
        print_json({"task_logs": shown})
        return
    rows = [
        (
            task["id"],
            states.get(task["id"], {}).get("state", "UNKNOWN"),
            str(task.get("exit_code", "")),
            task["name"],
            "taken over" if "reused_from" in states.get(task["id"], {}) else "",
        )
        for task in shown
    ]
    print_states(("TASK", "STATE", "EXIT", "STEP", ""), rows, "there are no steps yet")


@app.command()
def logs(
    run_id: RunId,
    only_stdout: Annotated[bool, typer.Option("--stdout", help="Its stdout instead of its stderr.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """Print what the run's engine said. What a step printed: `tesp task logs` of its task."""
    from tesp_api.cli.output import print_json

    stream, kept = "stdout" if only_stdout else "stderr", b""
    with _runs(url, user, token_file) as runs:
        for data in runs.follow_log(run_id, stream) if follow else runs.whole_log(run_id, stream):
            if as_json:
                kept += data
            else:
                sys.stdout.buffer.write(data)
                sys.stdout.flush()
    if as_json:
        print_json({"run_id": run_id, stream: kept.decode(errors="replace")})


@app.command(epilog=EXIT_CODES)
def wait(
    run_id: RunId,
    timeout: Timeout = None,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """Wait until the run has ended, with a tree of its steps on a terminal; then show its outputs."""
    from tesp_api.cli.output import print_json
    from tesp_api.cli.run_output import print_end
    from tesp_api.cli.run_tree import watch

    with _runs(url, user, token_file) as runs:
        state = watch(runs, run_id, timeout_s=timeout, with_tree=not as_json)
        final = runs.get(run_id)
    if as_json:
        print_json(final)
    else:
        print_end(final)
    _end(run_id, state)


@app.command()
def cancel(
    run_ids: RunIds,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """Cancel runs and all their tasks; those that have ended stay as they are."""
    from tesp_api.cli.output import print_final_states, print_json

    canceled = []
    with _runs(url, user, token_file) as runs:
        for run_id in run_ids:
            runs.cancel(run_id)
            canceled.append({"id": run_id, "state": runs.state(run_id)})
    if as_json:
        print_json({"runs": canceled})
    else:
        print_final_states(canceled)


@app.command()
def outputs(
    run_id: RunId,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FOLDER", help="Save the files among them there.")
    ] = None,
    archive: Annotated[
        Path | None, typer.Option("--zip", metavar="FILE", help="Save all of them as one zip archive.")
    ] = None,
    inputs: Annotated[bool, typer.Option("--inputs", help="With --zip: the inputs instead.")] = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """Print a run's outputs as JSON, or save them."""
    from tesp_api.cli.output import print_json
    from tesp_api.cli.run_output import files_among

    if inputs and archive is None:
        raise CommandFailed("--inputs goes with --zip", Exit.USAGE)
    with _runs(url, user, token_file) as runs:
        if archive is not None:
            runs.save_archive(run_id, "inputs" if inputs else "outputs", archive)
            typer.echo(str(archive))
            return
        found = runs.get(run_id)["outputs"]
        if to is None:
            print_json(found)
            return
        for place, path in files_among(found, to):
            path.parent.mkdir(parents=True, exist_ok=True)
            runs.save_file(place, path)
            typer.echo(str(path))


@app.command()
def delete(
    run_ids: RunIds,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    user: User = None,
    token_file: TokenFile = None,
) -> None:
    """Delete runs that have ended, with their tasks and all their files."""
    from tesp_api.cli.output import print_json

    with _runs(url, user, token_file) as runs:
        for run_id in run_ids:
            runs.delete(run_id)
            if not as_json:
                typer.echo(f"{run_id} deleted")
    if as_json:
        print_json({"deleted": run_ids})


@contextmanager
def _runs(url: str, user: str | None, token_file: Path | None) -> Iterator["RunClient"]:
    from tesp_api.cli.run_client import RunClient

    with open_client(url, user, token_file) as client:
        yield RunClient(client)


def _language(workflow: str, kind: str | None, version: str | None) -> tuple[str, str]:
    """What the workflow is written in: as was said, or as its name and its text say.

    Raises:
        CommandFailed: neither says it.
    """
    from tesp_api.cli.attachments import read_document
    from tesp_api.cli.snakefiles import is_snakefile

    path = workflow.partition("#")[0]
    by_name = _SNAKEMAKE if is_snakefile(path) else _TYPES.get(Path(path).suffix.lower(), ("", ""))
    language = kind or by_name[0]
    if not language:
        raise CommandFailed(f"{workflow} does not say what it is: name its language by --type", Exit.USAGE)
    if version is None and language.upper() == "CWL" and "://" not in path:
        document = read_document(Path(path))
        version = document.get("cwlVersion") if isinstance(document, dict) else None
    return language, version or by_name[1] or "v1"


def _pairs(given: Sequence[str] | None) -> dict[str, str]:
    return {key: value for key, _, value in (one.partition("=") for one in given or ())}


def _end(run_id: str, state: str) -> NoReturn:
    """Leave with the exit code for this run, which was waited for."""
    if state not in FINAL:
        raise CommandFailed(f"the time is over; not ended: {run_id} ({state})", Exit.TIMED_OUT)
    raise typer.Exit(exit_for_states([state]))
