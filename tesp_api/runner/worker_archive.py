"""The worker as one file: a zipapp that every job takes along."""

import importlib.util
import io
import marshal
import zipfile
from functools import cache
from pathlib import Path

import tesp_api.worker

PACKAGE = "tesp_worker"
ENTRY = "import tesp_worker.__main__\n"
TIMESTAMP = (1980, 1, 1, 0, 0, 0)
UNCHECKED_HASH_PYC = (0b01).to_bytes(4, "little")


@cache
def build_worker_archive() -> bytes:
    """The worker's package as a zipapp; the same bytes for the same source and Python.

    Beside each source lies its bytecode for this Python, never checked against the source: where
    the site has the same minor version nothing is compiled, elsewhere zipimport takes the source.
    Members are stored: starting is faster so, and deflated they would still be loaded one by one.
    """
    root = Path(tesp_api.worker.__file__).parent
    sources = {"__main__.py": ENTRY.encode()}
    for path in sorted(root.rglob("*.py")):
        sources[f"{PACKAGE}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in sources.items():
            _add(archive, f"{name}c", _compile(name, source))
            _add(archive, name, source)
    return buffer.getvalue()


def _compile(name: str, source: bytes) -> bytes:
    code = compile(source, name, "exec", dont_inherit=True)
    return (
        importlib.util.MAGIC_NUMBER
        + UNCHECKED_HASH_PYC
        + importlib.util.source_hash(source)
        + marshal.dumps(code)
    )


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    member = zipfile.ZipInfo(name, TIMESTAMP)
    member.compress_type = archive.compression
    member.external_attr = 0o644 << 16
    archive.writestr(member, data)
