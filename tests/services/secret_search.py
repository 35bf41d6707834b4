"""Looks for secrets where none may be: in files, in answers, and in what the process list shows."""

import base64
import contextlib
import json
import os
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from tesp_api.pulsar.processes import all_pids


def forms_of(secret: str) -> list[bytes]:
    """How a secret may be written down: as it is, percent-encoded, in JSON, anywhere in what is base64."""
    in_json = json.dumps(secret)[1:-1]
    texts = {secret, in_json, quote(secret, safe=""), quote(secret), quote(secret, safe="").lower()}
    encoded = {part for text in (secret, in_json) for part in _in_base64(text.encode())}
    return sorted({text.encode() for text in texts} | encoded)


def _in_base64(data: bytes) -> Iterator[bytes]:
    """What is the same of it whatever stands before and behind, in both alphabets."""
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + data)
        part = whole[(0, 2, 3)[before] : len(whole) - (4 if (before + len(data)) % 3 else 0)]
        yield from (part, part.translate(bytes.maketrans(b"+/", b"-_")))


class SecretSearch:
    """`found` is what was come upon so far: ("name of the secret", "where")."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._forms = {name: forms_of(secret) for name, secret in secrets.items()}
        self.found: set[tuple[str, str]] = set()

    def look(self, where: str, data: bytes) -> None:
        """Search in the bytes."""
        for name, forms in self._forms.items():
            if any(form in data for form in forms):
                self.found.add((name, where))

    def look_below(self, where: str, folder: Path) -> None:
        """Search in the files and in their names; those that vanish meanwhile are passed over."""
        for place, _, names in os.walk(folder):
            for name in names:
                file = Path(place, name)
                self.look(where, os.fsencode(file))
                with contextlib.suppress(OSError):
                    if file.is_file():
                        self.look(where, file.read_bytes())

    def look_at_processes(self, besides: Collection[int]) -> None:
        """Search in the command lines and environments of all processes but those, and copies of them.

        Whoever starts a program is two for a moment, until the second one becomes that program.
        """
        own = {_of_process(pid, "cmdline") for pid in besides}
        for pid in all_pids():
            command = _of_process(pid, "cmdline")
            if command and command not in own:
                self.look("cmdline", command)
                self.look("environ", _of_process(pid, "environ"))


def _of_process(pid: int, part: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{part}").read_bytes()
    except OSError:
        return b""


class Watch:
    """`with Watch(search, folders, besides):` looks at processes and folders again and again meanwhile."""

    def __init__(
        self, searches: Collection[SecretSearch], folders: Mapping[str, Path], besides: Collection[int]
    ) -> None:
        self._searches, self._folders, self._besides = searches, folders, {os.getpid(), *besides}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def _look_on(self) -> None:
        while not self._ended.is_set():
            for search in self._searches:
                search.look_at_processes(self._besides)
                for where, folder in self._folders.items():
                    search.look_below(where, folder)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
