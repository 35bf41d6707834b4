"""What `tesp run submit` sends along: the workflow with the files that it names, and local input files.

A workflow names other files by `run`, `$import`, `$include` and `$mixin`, and they others; params name files
by `location` or `path` of File and Directory objects. What is a URL is left as it is.
"""

import json
import os
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import yaml

from tesp_api.cli.exits import CommandFailed, Exit

_REFERENCES = ("run", "$import", "$include", "$mixin")
_INPUTS = "inputs"


class Attached(NamedTuple):
    """The files by their names as attachments, and the workflow's name among them."""

    files: dict[str, Path]
    workflow_url: str


def read_document(file: Path) -> Any:
    """What a YAML or JSON file holds.

    Raises:
        CommandFailed: it cannot be read, or is neither.
    """
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except yaml.YAMLError as error:
        raise CommandFailed(f"{file} is neither YAML nor JSON: {error}") from None


def workflow_with_its_files(workflow: str) -> Attached:
    """The workflow and every local file that it names, by their places relative to each other.

    Of a URL nothing is attached.
    """
    if "://" in workflow:
        return Attached({}, workflow)
    path, sign, fragment = workflow.partition("#")
    found: list[Path] = []
    _collect(Path(path).resolve(), found)
    root = Path(os.path.commonpath([one.parent for one in found]))
    files = {one.relative_to(root).as_posix(): one for one in found}
    return Attached(files, f"{found[0].relative_to(root).as_posix()}{sign}{fragment}")


def _collect(file: Path, found: list[Path]) -> None:
    if file in found:
        return
    text = read_document(file) if not found or file.suffix in (".cwl", ".yml", ".yaml", ".json") else None
    found.append(file)
    for name in _references(text):
        other = (file.parent / unquote(name.partition("#")[0])).resolve()
        if other.is_file():
            _collect(other, found)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _references(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key in _REFERENCES and isinstance(item, str):
                if "://" not in item and not item.startswith("#"):
                    yield item
            else:
                yield from _references(item)
        if value.get("class") == "File":  # a default
            yield from (one for one in (value.get("location"), value.get("path")) if isinstance(one, str))


def attached_by_hand(given: list[str], base: Path) -> dict[str, Path]:
    """The files of `--attach FILE` and `--attach FILE=NAME`; a folder stands for all in it.

    Without a name they keep their places relative to `base`, the workflow's folder, where they are below it.

    Raises:
        CommandFailed: one is not there.
    """
    files: dict[str, Path] = {}
    for one in given:
        text, _, name = one.partition("=")
        path = Path(text)
        if not path.exists():
            raise CommandFailed(f"{text} is not there", Exit.USAGE)
        resolved = path.resolve()
        if not name:
            name = resolved.relative_to(base).as_posix() if resolved.is_relative_to(base) else path.name
        files |= _as_attachments(resolved, name)
    return files


def params_with_files(params: Mapping[str, Any], base: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """The params with local files told by the names of attachments, and these attachments.

    Paths are relative to `base`. What names no file that is there is left as it is.
    """
    files: dict[str, Path] = {}
    return {name: _attach(value, base, files) for name, value in params.items()}, files


def _attach(value: Any, base: Path, files: dict[str, Path]) -> Any:
    if isinstance(value, list):
        return [_attach(item, base, files) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: _attach(item, base, files) for key, item in value.items()}
    if value.get("class") not in ("File", "Directory"):
        return value
    place = next((key for key in ("location", "path") if isinstance(value.get(key), str)), None)
    local = _local(value[place], base) if place else None
    if place is None or local is None:
        return value
    known = next((name for name, path in files.items() if path == local), None)
    name = known or posixpath.join(_INPUTS, str(len(files)), local.name)
    files |= _as_attachments(local, name)
    return {**{key: item for key, item in value.items() if key != place}, "location": name}


def _local(text: str, base: Path) -> Path | None:
    """The file or directory on this machine that a location names, if it is there."""
    if text.startswith("file://"):
        text = unquote(text.removeprefix("file://"))
    elif "://" in text:
        return None
    path = base / text
    return path.resolve() if path.exists() else None


def _as_attachments(path: Path, name: str) -> dict[str, Path]:
    if path.is_file():
        return {name: path}
    below = sorted(one for one in path.rglob("*") if one.is_file())
    return {posixpath.join(name, one.relative_to(path).as_posix()): one for one in below}


def read_params(given: str | None) -> tuple[dict[str, Any], Path]:
    """The params in a YAML or JSON file, or in a JSON text that begins with a brace, and where paths begin.

    Raises:
        CommandFailed: they are no object.
    """
    if given is None:
        return {}, Path.cwd()
    if given.lstrip().startswith("{"):
        try:
            params, base = json.loads(given), Path.cwd()
        except json.JSONDecodeError as error:
            raise CommandFailed(f"the params are not valid JSON: {error}") from None
    else:
        params, base = read_document(Path(given)), Path(given).resolve().parent
    if params is None:
        return {}, base
    if not isinstance(params, dict):
        raise CommandFailed(f"{given[:80]} holds no object with the workflow's inputs")
    return {str(name): value for name, value in params.items()}, base
