"""What is in the archives of a run's inputs and outputs."""

import json
import posixpath
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any
from urllib.parse import unquote

from tesp_api.storage.work_files_local import Found
from tesp_api.store.runs import Run
from tesp_api.wes.views import Json, outputs_fault, run_in, with_urls, work_base_of

Content = Found | bytes
Walk = Callable[[str], Awaitable[list[Found]]]


def input_entries(run: Run, attached: list[Found]) -> list[tuple[str, Content]]:
    """The request, its params as the engine got them, and the attachments."""
    params = run.request["workflow_params"] if run.params is None else run.params
    return [
        ("request.json", _json(run.request)),
        ("workflow_params.json", _json(params)),
        *((f"attachments/{one.name}", one) for one in attached),
    ]


async def output_entries(run: Run, walk: Walk) -> list[tuple[str, Content]]:
    """Every file that the outputs have in work storage, beneath the output's name, and the outputs as JSON.

    There the files are told by their names in the archive. What `walk` does not find is left out, and so are
    outputs that no client can be told of.
    """
    outputs = {} if outputs_fault(run.outputs) else dict(run.outputs)
    entries: dict[str, Content] = {}
    names: dict[str, str] = {}
    for name, url in _places(outputs, "", work_base_of(run)):
        try:
            found = await walk(url)
        except FileNotFoundError:
            continue
        base = posixpath.basename(url.rstrip("/"))
        place = _free(base if base == name else posixpath.join(name, base), names.values())
        names.setdefault(url, place)
        for one in found:
            entries.setdefault(posixpath.join(place, one.name) if one.name else place, one)
    told = with_urls(outputs, lambda url: names.get(url, url))
    return [("outputs.json", _json(told)), *entries.items()]


def _free(path: str, taken: Collection[str]) -> str:
    """The path, with a number in its folder if there is another file of that name already."""
    folder, name = posixpath.split(unquote(path))
    number, free = 1, posixpath.join(folder, name)
    while free in taken:
        number += 1
        free = posixpath.join(folder, str(number), name)
    return free


def _places(value: Any, name: str, work_base: str) -> Iterator[tuple[str, str]]:
    """The URLs in work storage of Files and Directories among the outputs, each with the name of its output.

    A Directory that lies nowhere in one piece is a folder for what it lists. Any other text is what a
    workflow made up, or was given.
    """
    if isinstance(value, list):
        for item in value:
            yield from _places(item, name, work_base)
    elif isinstance(value, dict):
        kind = value.get("class")
        urls = [value.get(key) for key in ("location", "path") if kind in ("File", "Directory")]
        ours = [url for url in urls if isinstance(url, str) and run_in(url, work_base)]
        yield from ((name, url) for url in ours)
        if kind == "Directory" and not ours:
            base = _as_folder(str(value.get("basename") or ""))
            name = base if base == name else posixpath.join(name, base)
        for key, item in value.items():
            if not (ours and key == "listing"):
                yield from _places(item, name or _as_folder(key), work_base)


def _as_folder(name: str) -> str:
    return name.replace("/", "_").strip(".") or "output"


def _json(document: Any) -> bytes:
    shown: Json = dict(document)
    return json.dumps(shown, indent=2).encode() + b"\n"
