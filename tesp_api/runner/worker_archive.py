"""The worker as one file: a zipapp that every job takes along, so its size counts."""

import ast
import importlib.util
import inspect
import io
import lzma
import marshal
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType

import tesp_api.worker
from tesp_api.runner.slim_source import slim
from tesp_api.worker import archive as loader

TIMESTAMP = (1980, 1, 1, 0, 0, 0)
LOADER = "archive.py"
OF_THIS_MACHINE = "nursery.py"
"""Is asked for by the embedded Pulsar alone."""
MARSHAL_FORMAT_OF_ALL = 2
"""What every Python 3 can read."""


def worker_archive_for(kind: str) -> bytes:
    """That of jobs at a destination of this kind."""
    return build_local_worker_archive() if kind == "embedded" else build_worker_archive()


@cache
def build_worker_archive() -> bytes:
    """The worker's package as a zipapp; the same bytes for the same source and Python.

    It has the sources and, of the modules that every task needs, bytecode for this Python: where the
    site has the same minor version, nothing of those is compiled. Others are compiled there in one to three
    milliseconds each: bytecode would treble their size. Both lack what only readers need, but lines keep
    their numbers.
    """
    main, sources = _members()
    del sources[f"{loader.PACKAGE}/{OF_THIS_MACHINE}"]
    needed = _imported_by(["__main__"], sources)
    codes = {name: _compile(name, source) if name in needed else None for name, source in sources.items()}
    return _zipped(main, sources, _pack_bytecode(codes), zipfile.ZIP_DEFLATED)


@cache
def build_local_worker_archive() -> bytes:
    """The same for jobs of this machine: with the bytecode of all modules, and not packed.

    It is five times as large, which costs nothing where it takes no network, and spares each job some fifteen
    milliseconds of a processor.
    """
    main, sources = _members()
    codes = {name: marshal.dumps(_compile(name, source)) for name, source in sources.items()}
    bytecode = importlib.util.MAGIC_NUMBER + marshal.dumps(codes)
    return _zipped(main, sources, bytecode, zipfile.ZIP_STORED)


def is_local_worker(archive: bytes) -> bool:
    """Whether it is the one that `build_local_worker_archive` makes."""
    return archive == build_local_worker_archive()


def _members() -> tuple[bytes, dict[str, bytes]]:
    """The archive's own `__main__.py`, and the sources of the worker's modules."""
    root = Path(tesp_api.worker.__file__).parent
    paths = sorted(root.rglob("*.py"), key=lambda path: (len(path.parts), path))  # packs best
    files = {path.relative_to(root).as_posix(): path.read_text() for path in paths}
    main = slim(files.pop(LOADER)).encode()
    return main, {f"{loader.PACKAGE}/{name}": slim(source).encode() for name, source in files.items()}


def _zipped(main: bytes, sources: dict[str, bytes], bytecode: bytes, method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _add(archive, "__main__.py", main, zipfile.ZIP_DEFLATED)
        _add(archive, loader.SOURCES, marshal.dumps(sources, MARSHAL_FORMAT_OF_ALL), zipfile.ZIP_DEFLATED)
        _add(archive, loader.BYTECODE, bytecode, method)
    return buffer.getvalue()


def _imported_by(modules: list[str], sources: dict[str, bytes]) -> set[str]:
    """The files of these modules and of all that they import at once, from one another."""
    waiting = [f"{loader.PACKAGE}.{module}" for module in modules]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        file = f"{name.replace('.', '/')}/__init__.py"
        is_package = file in sources
        file = file if is_package else f"{name.replace('.', '/')}.py"
        if file not in sources or file in found:  # it names no module, but something in one
            continue
        found.add(file)
        waiting.append(name.rpartition(".")[0])
        for node in ast.parse(sources[file]).body:
            if isinstance(node, ast.ImportFrom) and node.level:
                above = name.split(".")[: len(name.split(".")) - node.level + is_package]
                base = ".".join([*above, *filter(None, [node.module])])
                waiting += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return found


def _pack_bytecode(codes: dict[str, CodeType | None]) -> bytes:
    """By lzma, which saves a sixth of what zlib makes of it; `lc` and `pb` suit bytecode."""
    preset = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "pb": 0}
    held = list(_texts(list(codes.values())))  # noqa: F841 - marshal marks what others refer to, as names may be
    packed = lzma.compress(marshal.dumps(codes), check=lzma.CHECK_CRC32, filters=[preset])
    return importlib.util.MAGIC_NUMBER + packed


def _texts(value: object) -> Iterator[str]:
    """Every string in code, or in its constants."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple | frozenset):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, CodeType):
        names = (value.co_names, value.co_varnames, value.co_freevars, value.co_cellvars)
        yield from _texts([value.co_name, value.co_qualname, value.co_filename, value.co_consts, *names])


def _compile(name: str, source: bytes) -> CodeType:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.expr | ast.stmt):  # columns double the size, and tracebacks need lines only
            node.col_offset, node.end_col_offset, node.end_lineno = 0, 0, node.lineno
    return _without_names(compile(tree, name, "exec", dont_inherit=True, optimize=2))


def _without_names(code: CodeType) -> CodeType:
    """Those that nothing asks for: of local variables that are no arguments, and of what a function is in."""
    arguments = code.co_argcount + code.co_kwonlyargcount
    arguments += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    numbers = (f"_{number}" for number in range(arguments, len(code.co_varnames)))
    constants = (_without_names(one) if isinstance(one, CodeType) else one for one in code.co_consts)
    return code.replace(
        co_consts=tuple(constants),
        co_qualname=code.co_name,
        co_varnames=(*code.co_varnames[:arguments], *numbers),
    )


def _add(archive: zipfile.ZipFile, name: str, data: bytes, method: int) -> None:
    member = zipfile.ZipInfo(name, TIMESTAMP)
    member.compress_type = method
    member.external_attr = 0o644 << 16
    archive.writestr(member, data, compresslevel=9)
