"""The outputs of a run: the files that its targets are, as Files and Directories by their names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .workspace import Workspace, absolute


def outputs_of(dag: Any, workspace: Workspace) -> dict[str, Any]:
    """What the targets have made, or want made. A directory on the way to a file has no location."""
    tree: dict[str, Any] = {}
    for path in sorted(set(_targets(dag))):
        for one in [path] if workspace.place(path) else workspace.files_below(path):
            _put(tree, workspace.relative(one).split("/"), one)
        if workspace.folder(path):
            _put(tree, workspace.relative(path).split("/"), None)
    return {name: _shown(name, item, [name], workspace) for name, item in tree.items()}


def _targets(dag: Any) -> Iterator[str]:
    for job in dag.targetjobs:
        yield from (absolute(one) for one in (job.output or job.input))


def _put(tree: dict[str, Any], parts: list[str], path: str | None) -> None:
    """Note a file, or a directory, which is there even if nothing is in it."""
    for part in parts[:-1]:
        tree = tree.setdefault(part, {})
    if path is None:
        tree.setdefault(parts[-1], {})
    else:
        tree[parts[-1]] = path


def _shown(name: str, item: Any, parts: list[str], workspace: Workspace) -> dict[str, Any]:
    path = f"{workspace.root}/{'/'.join(parts)}"
    if isinstance(item, str):
        place = workspace.place(path)
        shown = {"class": "File", "basename": name, "location": place.url if place else ""}
        return shown | ({"size": place.size_bytes} if place and place.size_bytes is not None else {})
    listing = [_shown(one, below, [*parts, one], workspace) for one, below in item.items()]
    folder = workspace.folder(path)
    located = {"location": folder.url} if folder else {}
    return {"class": "Directory", "basename": name, **located, "listing": listing}
