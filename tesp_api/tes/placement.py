"""The rules between the fields of a task: what lies where, and what comes from where.

They look at the document as it came, and pass over whatever has the wrong type or shape by itself: that
is reported by the models, so that one answer names the faults of both kinds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tesp_api.errors import Fault
from tesp_api.tes import paths, urls
from tesp_api.tes.tasks import MOST_FILES

_STREAMS = ("stdin", "stdout", "stderr")


@dataclass(frozen=True, slots=True)
class _Placed:
    """A field that names a path in the containers; `path` is normalized."""

    field: str
    path: str


def placement_faults(document: dict[str, Any]) -> Iterator[Fault]:
    """Every fault between the fields of a document."""
    for at, item in _objects(document.get("inputs")):
        yield from _source_faults(f"inputs[{at}]", item)
    for at, item in _objects(document.get("outputs")):
        yield from _pattern_faults(f"outputs[{at}]", item)
    yield from _collisions(document)
    yield from _lost_outputs(document)
    yield from _files_taken_for_directories(document)


def _source_faults(field: str, item: dict[str, Any]) -> Iterator[Fault]:
    """An input's url and content: one of them is needed, and content that is not empty wins."""
    url, content = item.get("url"), item.get("content")
    if content and isinstance(content, str):
        if item.get("type") == "DIRECTORY":
            yield Fault(f"{field}.content", "is the content of a file, but the type says DIRECTORY")
        return
    if url is None or url == "":
        if content is None:
            yield Fault(field, "has neither url nor content: give one of them")
        elif item.get("type") == "DIRECTORY":
            yield Fault(f"{field}.url", "is required for a DIRECTORY")
        return
    if not isinstance(url, str):
        return
    if fault := urls.url_fault(url) or _file_fault(url, item):
        yield Fault(f"{field}.url", fault)


def _file_fault(url: Any, item: dict[str, Any]) -> str | None:
    """What is wrong with the URL of something that the document says is a file."""
    is_file = item.get("type") in (None, "FILE") and isinstance(url, str) and not urls.url_fault(url)
    return urls.file_fault(url) if is_file else None


def _pattern_faults(field: str, item: dict[str, Any]) -> Iterator[Fault]:
    """An output with wildcards needs a path_prefix; one without ignores it."""
    path, prefix = item.get("path"), item.get("path_prefix")
    is_pattern = bool(prefix) and isinstance(path, str) and paths.has_wildcards(path)
    if not is_pattern and (fault := _file_fault(item.get("url"), item)):
        yield Fault(f"{field}.url", fault)
    if not isinstance(path, str) or not paths.has_wildcards(path) or paths.place_fault(path):
        return
    if prefix is None or prefix == "":
        yield Fault(f"{field}.path_prefix", "is required because the path contains wildcards")
    elif isinstance(prefix, str):
        fixed = paths.fixed_directory(path)
        if fault := paths.path_fault(prefix):
            yield Fault(f"{field}.path_prefix", fault)
        elif not paths.is_within(fixed, paths.normal_path(prefix)):
            yield Fault(f"{field}.path_prefix", f"must be {fixed} or a directory above it, as in the path")


def _collisions(document: dict[str, Any]) -> Iterator[Fault]:
    """No two inputs or volumes can be at one path."""
    taken: dict[str, str] = {}
    for placed in (*_inputs(document), *_volumes(document)):
        owner = taken.setdefault(placed.path, placed.field)
        if owner != placed.field:
            yield Fault(placed.field, f"is the place of {owner} already: choose another path")


def _lost_outputs(document: dict[str, Any]) -> Iterator[Fault]:
    """No two files can be stored at one URL, while one file may be named twice, as Cromwell does.

    Source: broadinstitute/cromwell at 0034aad, supportedBackends/tes/src/main/scala/cromwell/backend/impl/
    tes/TesTask.scala: outputs (an output that is called stdout is there twice).
    """
    taken: dict[str, _Placed] = {}
    for at, item in _objects(document.get("outputs")):
        url, path = item.get("url"), item.get("path")
        if item.get("type") not in (None, "FILE") or not isinstance(url, str) or not isinstance(path, str):
            continue
        for placed in () if paths.has_wildcards(path) else _place(f"outputs[{at}].url", path):
            owner = taken.setdefault(url, placed)
            if owner.path != placed.path:
                other = owner.field.removesuffix(".url")
                yield Fault(placed.field, f"is where {other} is stored already: choose another URL")


def _files_taken_for_directories(document: dict[str, Any]) -> Iterator[Fault]:
    """Nothing can lie below an input that is a file."""
    files = {placed.path: placed.field for placed in _inputs(document, files_only=True)}
    if not files:
        return
    for placed in (*_inputs(document), *_outputs(document), *_volumes(document), *_executor_paths(document)):
        for above in paths.ancestors(placed.path):
            if above in files:
                yield Fault(placed.field, f"lies below {above}, which {files[above]} makes a file")
                break


def _inputs(document: dict[str, Any], *, files_only: bool = False) -> Iterator[_Placed]:
    for at, item in _objects(document.get("inputs")):
        if not files_only or item.get("type") in (None, "FILE"):
            yield from _place(f"inputs[{at}].path", item.get("path"))


def _outputs(document: dict[str, Any]) -> Iterator[_Placed]:
    for at, item in _objects(document.get("outputs")):
        path = item.get("path")
        if isinstance(path, str) and paths.has_wildcards(path) and not paths.place_fault(path):
            path = paths.fixed_directory(path)
        yield from _place(f"outputs[{at}].path", path)


def _volumes(document: dict[str, Any]) -> Iterator[_Placed]:
    for at, path in enumerate(_items(document.get("volumes"))):
        yield from _place(f"volumes[{at}]", path)


def _executor_paths(document: dict[str, Any]) -> Iterator[_Placed]:
    for at, item in _objects(document.get("executors")):
        for key in (*_STREAMS, "workdir"):
            yield from _place(f"executors[{at}].{key}", item.get(key))


def _place(field: str, path: Any) -> Iterator[_Placed]:
    if isinstance(path, str) and not paths.place_fault(path):
        yield _Placed(field, paths.normal_path(path))


def _objects(value: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    return ((at, item) for at, item in enumerate(_items(value)) if isinstance(item, dict))


def _items(value: Any) -> list[Any]:
    """The items of a list; not more of them than any list may have, which the models see to."""
    return value[:MOST_FILES] if isinstance(value, list) else []
