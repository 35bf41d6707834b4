"""The archive's `__main__.py`: imports the worker from two members, each compressed as a whole.

As a zip of single modules the archive would be larger by half, and start more slowly.
"""

from __future__ import annotations

import _thread
import marshal
import sys
from importlib.machinery import ModuleSpec
from importlib.util import MAGIC_NUMBER
from types import ModuleType
from typing import Any, Callable

PACKAGE = "tesp_worker"
SOURCES = "sources"
"""Its content: {file: source}, as every Python's `marshal` reads it."""
BYTECODE = "bytecode"
"""Its content: the magic number of a Python, then for that Python, packed: {file: code, or None}; or, where
nothing has to be small, {file: marshaled code} as it is."""


class Modules:
    """Finds and loads the worker's modules; they are compiled where the bytecode is another Python's."""

    def __init__(self, archive: str, read: Callable[[str], bytes]) -> None:
        self._archive = archive
        self._read = read
        self._sources: dict[str, bytes] = {}
        self._reading = _thread.allocate_lock()  # zipimport refuses to unpack in two threads at once
        self._codes = _load_bytecode(read(BYTECODE)) or dict.fromkeys(self._all_sources())

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        file = self._file_of(name)
        if file not in self._codes:
            return None
        is_package = file.endswith("/__init__.py")
        spec = ModuleSpec(name, self, origin=f"{self._archive}/{file}", is_package=is_package)  # type: ignore[arg-type]
        spec.has_location = True
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to Python."""

    def exec_module(self, module: ModuleType) -> None:
        file = self._file_of(module.__name__)
        code = self._codes[file]
        if isinstance(code, bytes):
            code = marshal.loads(code)  # noqa: S302 - of the worker's own archive
        if code is None:
            code = compile(self._all_sources()[file], file, "exec", dont_inherit=True, optimize=2)
        exec(code, module.__dict__)  # noqa: S102 - a loader runs what it loads: the worker's own modules

    def get_source(self, name: str) -> str:
        """What tracebacks show."""
        return self._all_sources()[self._file_of(name)].decode()

    def _file_of(self, name: str) -> str:
        path = name.replace(".", "/")
        package = f"{path}/__init__.py"
        return package if package in self._codes else f"{path}.py"

    def _all_sources(self) -> dict[str, bytes]:
        with self._reading:
            if not self._sources:
                self._sources = marshal.loads(self._read(SOURCES))  # noqa: S302 - of the worker's own archive
        return self._sources


def _load_bytecode(member: bytes) -> dict[str, Any]:
    """Empty for another Python, or, where it is packed, one that was built without lzma."""
    if not member.startswith(MAGIC_NUMBER):
        return {}
    if member[len(MAGIC_NUMBER)] != 0xFD:  # with which lzma begins
        return marshal.loads(member[len(MAGIC_NUMBER) :])  # type: ignore[no-any-return]  # noqa: S302 - of the worker's own archive
    try:
        import lzma
    except ImportError:
        return {}
    return marshal.loads(lzma.decompress(member[len(MAGIC_NUMBER) :]))  # type: ignore[no-any-return]  # noqa: S302 - of the worker's own archive


if __name__ == "__main__":
    zipped = globals()["__loader__"]
    sys.meta_path.insert(0, Modules(zipped.archive, zipped.get_data))
    __import__(f"{PACKAGE}.__main__")
