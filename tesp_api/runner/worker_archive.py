"""The worker as one file: a zipapp that every job takes along, so its size counts."""

import ast
import importlib.util
import io
import lzma
import marshal
import zipfile
from functools import cache
from pathlib import Path
from types import CodeType

import tesp_api.worker
from tesp_api.worker import archive as loader

TIMESTAMP = (1980, 1, 1, 0, 0, 0)
LOADER = "archive.py"
MARSHAL_FORMAT_OF_ALL = 2
"""What every Python 3 can read."""
SEEN_BY_FEW = {
    f"{loader.PACKAGE}/{name}.py"
    for name in (
        "gateway",
        "runtimes/apptainer",
        "runtimes/podman",
        "transfer/connection",
        "transfer/ftp",
        "transfer/ftp_session",
        "transfer/http",
        "transfer/http_directory",
        "transfer/statements",
    )
}
"""Imported by some tasks only, and compiled there in a few milliseconds: bytecode would treble their size."""


@cache
def build_worker_archive() -> bytes:
    """The worker's package as a zipapp; the same bytes for the same source and Python.

    It has the sources and, of the modules that every task needs, bytecode for this Python: where the
    site has the same minor version, nothing of those is compiled. Neither has docstrings, but lines
    keep their numbers.
    """
    root = Path(tesp_api.worker.__file__).parent
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.py"))}
    main = files.pop(LOADER)
    sources = {f"{loader.PACKAGE}/{name}": _blank_docstrings(source) for name, source in files.items()}
    codes = {
        name: None if name in SEEN_BY_FEW else _compile(name, source) for name, source in sources.items()
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _add(archive, "__main__.py", _blank_docstrings(main))
        _add(archive, loader.SOURCES, marshal.dumps(sources, MARSHAL_FORMAT_OF_ALL))
        _add(archive, loader.BYTECODE, _pack_bytecode(codes))
    return buffer.getvalue()


def _pack_bytecode(codes: dict[str, CodeType | None]) -> bytes:
    """By lzma, which saves a sixth of what zlib makes of it."""
    return importlib.util.MAGIC_NUMBER + lzma.compress(marshal.dumps(codes), preset=9 | lzma.PRESET_EXTREME)


def _compile(name: str, source: bytes) -> CodeType:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            _drop_annotations(node)
        if isinstance(node, ast.expr | ast.stmt):  # columns double the size, and tracebacks need lines only
            node.col_offset, node.end_col_offset, node.end_lineno = 0, 0, node.lineno
    return compile(tree, name, "exec", dont_inherit=True, optimize=2)


def _drop_annotations(function: ast.FunctionDef) -> None:
    """They are a third of the bytecode, and nothing asks for a function's annotations there."""
    function.returns = None
    arguments = function.args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        argument.annotation = None
    for argument in filter(None, (arguments.vararg, arguments.kwarg)):
        argument.annotation = None


def _blank_docstrings(source: bytes) -> bytes:
    lines = source.split(b"\n")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            last = node.end_lineno or node.lineno
            lines[node.lineno - 1 : last] = [b" " * node.col_offset + b"''", *[b""] * (last - node.lineno)]
    return b"\n".join(lines)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    member = zipfile.ZipInfo(name, TIMESTAMP)
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    archive.writestr(member, data, compresslevel=9)
