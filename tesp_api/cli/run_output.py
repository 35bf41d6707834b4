"""What `tesp run` prints of runs, and where it saves their files."""

import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tesp_api.cli.output import console, local_time, print_json
from tesp_api.cli.run_tree import run_tree
from tesp_api.tes.states import FINAL

_OURS = "/tesp/v1/runs/"


def files_among(value: Any, folder: Path) -> Iterator[tuple[str, Path]]:
    """The URLs of files among outputs, and where to save each; no two in one place."""
    taken: set[Path] = set()
    for place, name in _places(value):
        path, number = folder / name, 1
        while path in taken:
            number += 1
            path = folder / str(number) / name
        taken.add(path)
        yield place, path


def _places(value: Any, folder: str = "") -> Iterator[tuple[str, str]]:
    """The URLs of files, and their names, with the Directories in which they are listed before them."""
    if isinstance(value, list):
        for item in value:
            yield from _places(item, folder)
    elif isinstance(value, dict):
        location = value.get("location")
        if value.get("class") == "File" and isinstance(location, str) and _OURS in location:
            # The path alone: a login goes to the server that was asked, whatever an output says.
            name = _file_name(value.get("basename"), location)
            yield location[location.index(_OURS) :], posixpath.join(folder, name)
        if value.get("class") == "Directory":
            folder = posixpath.join(
                folder, _file_name(value.get("basename"), str(location or "").rstrip("/"))
            )
        for item in value.values():
            yield from _places(item, folder)


def _file_name(basename: Any, location: str) -> str:
    name = Path(str(basename or unquote(location.rpartition("/")[2]))).name
    return "file" if name in ("", ".", "..") else name


def print_run(run: dict[str, Any], steps: Sequence[dict[str, Any]]) -> None:
    """All of a run that a reader wants to see at a glance."""
    out = console()
    out.print(run_tree(run["run_id"], run["state"], steps))
    request, log = run["request"], run["run_log"]
    rows = {
        "workflow": request["workflow_url"],
        "type": f"{request['workflow_type']} {request['workflow_type_version']}",
        "started": local_time(log.get("start_time")),
        "ended": local_time(log.get("end_time")),
        **{f"tag {key}": value for key, value in (request.get("tags") or {}).items()},
    }
    for name, text in rows.items():
        if text:
            out.print(f"{name:<10} {text}")
    for line in log.get("system_logs", ()):
        out.print(line)
    _print_outputs(run)


def print_end(run: dict[str, Any]) -> None:
    """What came of a run that was waited for: its outputs on stdout, why it failed on stderr."""
    if run["state"] in FINAL and run["state"] != "COMPLETE":
        for line in run["run_log"].get("system_logs", ())[-1:]:
            console(stderr=True).print(line)
    _print_outputs(run)


def _print_outputs(run: dict[str, Any]) -> None:
    if run["outputs"]:
        print_json(run["outputs"])
