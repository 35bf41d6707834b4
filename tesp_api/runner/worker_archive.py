"""The worker as one file: a zipapp that every job takes along, so its size counts."""

import ast
import importlib.util
import io
import marshal
import zipfile
from functools import cache
from pathlib import Path

import tesp_api.worker

PACKAGE = "tesp_worker"
ENTRY = b"import tesp_worker.__main__\n"
TIMESTAMP = (1980, 1, 1, 0, 0, 0)
SEEN_BY_FEW = {
    f"{PACKAGE}/{name}.py"
    for name in (
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
"""Imported by some tasks only, and compiled there in a few milliseconds: bytecode would double their size."""
UNCHECKED_HASH_PYC = (0b01).to_bytes(4, "little")


@cache
def build_worker_archive() -> bytes:
    """The worker's package as a zipapp; the same bytes for the same source and Python.

    Beside each source that every task needs lies its bytecode for this Python, never checked against
    the source: where the site has the same minor version, nothing of it is compiled; elsewhere
    zipimport takes the source.
    Neither has docstrings, but lines keep their numbers.
    """
    root = Path(tesp_api.worker.__file__).parent
    sources = {"__main__.py": ENTRY}
    for path in sorted(root.rglob("*.py")):
        sources[f"{PACKAGE}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, source in sources.items():
            if name not in SEEN_BY_FEW:
                _add(archive, f"{name}c", _compile(name, source))
            _add(archive, name, _blank_docstrings(source))
    return buffer.getvalue()


def _compile(name: str, source: bytes) -> bytes:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            _drop_annotations(node)
        if isinstance(node, ast.expr | ast.stmt):  # columns double the size, and tracebacks need lines only
            node.col_offset, node.end_col_offset, node.end_lineno = 0, 0, node.lineno
    code = compile(tree, name, "exec", dont_inherit=True, optimize=2)
    return (
        importlib.util.MAGIC_NUMBER
        + UNCHECKED_HASH_PYC
        + importlib.util.source_hash(source)
        + marshal.dumps(code)
    )


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
