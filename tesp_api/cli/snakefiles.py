"""What `tesp run submit` sends along with a Snakefile: the files that it, or its config, names.

Snakemake's layout is known: a Snakefile in a folder `workflow` belongs to the folder above, where its paths
begin. Files whose names are put together (`"data/{sample}.fq"`) are sent by --attach.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tesp_api.cli.attachments import Attached
from tesp_api.cli.exits import CommandFailed

_QUOTED = re.compile(r"""(?P<sign>["'])(?P<text>[^"'\n{}*]+)(?P=sign)""")
_WORD = re.compile(r"""[^\s"'(){}\[\],;:=<>|&]+""")
_READ_MAX_BYTES = 1024**2
_WITH_NAMES = frozenset({"", ".smk", ".snakefile", ".yaml", ".yml", ".json"})
"""Endings of files in which more names may be."""


def is_snakefile(path: str) -> bool:
    """By its name: Snakefile, Snakefile.x, x.smk."""
    name = Path(path).name.lower()
    return name == "snakefile" or name.startswith("snakefile.") or name.endswith((".smk", ".snakefile"))


def snakefile_with_its_files(workflow: str, params: Mapping[str, Any]) -> Attached:
    """The Snakefile, and local files that it and the params name, by their places in the workflow's folder.

    Raises:
        CommandFailed: it cannot be read.
    """
    snakefile = Path(workflow).resolve()
    if not snakefile.is_file():
        raise CommandFailed(f"{workflow} cannot be read: there is no such file")
    root = workflow_folder(workflow)
    found: list[Path] = []
    _collect(snakefile, root, found)
    for text in _texts(params):
        _collect_named(text, [root], root, found)
    files = {one.relative_to(root).as_posix(): one for one in found}
    return Attached(files, snakefile.relative_to(root).as_posix())


def workflow_folder(workflow: str) -> Path:
    """Where the paths of a workflow begin."""
    folder = Path(workflow).resolve().parent
    return folder.parent if folder.name == "workflow" else folder


def _collect(file: Path, root: Path, found: list[Path]) -> None:
    if file in found:
        return
    found.append(file)
    if file.suffix.lower() not in _WITH_NAMES:
        return
    try:
        if file.stat().st_size > _READ_MAX_BYTES:
            return
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}") from None
    names = {match["text"] for match in _QUOTED.finditer(text)} | set(_WORD.findall(text))
    for name in sorted(names):
        _collect_named(name, [file.parent, root], root, found)


def _collect_named(name: str, folders: list[Path], root: Path, found: list[Path]) -> None:
    for folder in folders:
        path = Path(os.path.normpath(folder / name)) if name and "\0" not in name else folder
        try:
            is_file = path.is_file()
        except OSError:
            continue
        if is_file and path.is_relative_to(root):
            _collect(path, root, found)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
