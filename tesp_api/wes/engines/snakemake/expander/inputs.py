"""The params of a run as Snakemake's config: File and Directory objects become paths."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from ...inside.channel import Refused
from .workspace import Workspace

FOLDER = "inputs"
_PLACES = ("location", "path")


class Unusable(Exception):
    """A param that names a file which cannot be had."""


def config_of(params: dict[str, Any], workspace: Workspace) -> dict[str, Any]:
    """The config; a file elsewhere is at `inputs/PARAM/NAME`, one that came with the request where it is.

    Raises: Unusable
    """
    return {name: _value(value, [name], workspace) for name, value in params.items()}


def _value(value: Any, at: list[str], workspace: Workspace) -> Any:
    if isinstance(value, list):
        return [_value(item, [*at, str(number)], workspace) for number, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if value.get("class") not in ("File", "Directory"):
        return {key: _value(item, [*at, str(key)], workspace) for key, item in value.items()}
    try:
        return _path(value, at, workspace)
    except (OSError, ValueError, Refused) as error:
        said = getattr(error, "strerror", None) or error
        raise Unusable(f"workflow_params.{'.'.join(at)}: {said}") from error


def _path(value: dict[str, Any], at: list[str], workspace: Workspace) -> str:
    """The path of a File, or of a Directory: one that has no location holds what its listing names."""
    location = next((value[place] for place in _PLACES if isinstance(value.get(place), str)), "")
    if location and "://" not in location:
        path = unquote(location).rstrip("/")
        if workspace.place(f"{workspace.root}/{path}") or workspace.files_below(f"{workspace.root}/{path}"):
            return path
        raise FileNotFoundError(2, f"{path} did not come with the request", path)
    name = value.get("basename") or unquote(location.rstrip("/").rpartition("/")[2])
    path = "/".join([FOLDER, *at, _safe(str(name))])
    if location:
        workspace.load_from(location, f"{workspace.root}/{path}")
        return path
    for item in value.get("listing") or ():
        _path(item, [*at, _safe(str(name))], workspace)
    return path


def _safe(name: str) -> str:
    if not name or name in (".", "..") or "/" in name:
        raise ValueError(f"{name!r} cannot be the name of a file")
    return name
