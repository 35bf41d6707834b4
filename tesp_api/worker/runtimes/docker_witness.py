"""The witness: a container that says what Docker has mounted, where its daemon does not see our descriptors.

That is a daemon in another mount namespace: an ordinary user's, or in a container, as the worker itself may
be. It is told paths, as volumes with names. A volume is mounted once for all containers that have it, so what
the witness sees is what the next one gets, as long as the witness stays.
"""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from typing import Callable, Mapping, Sequence

from .. import ownership
from ..errors import SystemFailure
from ..mounts import Bind
from .base import Run, as_csv
from .docker_shared import volume_option
from .shared import close_all, identity, open_unmoved

PATIENCE_S = 60.0
LINE = re.compile(rb"^(\d+ \d+)\n", re.MULTILINE)
SCRIPT = 'stat -c "%d %i" "$@"; exec sleep 2147483647'


class Witness:
    """Of one run's shared directories; `undo` are what removes it, once the run's container is gone."""

    def __init__(self, program: str, run: Run, directories: Sequence[Bind]) -> None:
        self._program = program
        self._run = run
        self._directories = directories
        self._name = f"{run.name}-witness"
        self._volumes = {bind.target: f"{run.name}-{number}" for number, bind in enumerate(directories)}
        self.undo = [
            [program, "rm", "--force", self._name],
            [program, "volume", "rm", "--force", *self._volumes.values()],
        ]

    def testify(self, opened: Mapping[str, int], guard: Callable[[int | None], None]) -> dict[str, str]:
        """Start it; returns values of `--mount` by target for what has the identity of what is open.

        `guard` is told that now there is something to undo, and which process makes it.

        Raises: SystemFailure if that is not so of every directory, or no witness starts; Canceled.
        """
        ownership.make_helper_image(self._program)
        said = self._hear(guard)
        for number, bind in enumerate(self._directories):
            device_inode = identity(opened[bind.target])
            if said[number].decode() != "{} {}".format(*device_inode):
                again = open_unmoved([bind])
                is_there = identity(again[bind.target]) == device_inode
                close_all(again.values())
                why = f"is another one to Docker, to which the path {bind.source} leads elsewhere"
                raise SystemFailure(f"What is mounted at {bind.target} {why if is_there else 'was replaced'}")
        return {bind.target: self._option(bind) for bind in self._directories}

    def _option(self, bind: Bind) -> str:
        fields = ["type=volume", f"source={self._volumes[bind.target]}", f"target={bind.target}"]
        return as_csv(bind, [*fields, "volume-nocopy=true", *([] if bind.writable else ["readonly"])])

    def _hear(self, guard: Callable[[int | None], None]) -> list[bytes]:
        """The device and the inode of each directory."""
        said, end = b"", time.monotonic() + PATIENCE_S
        poll = select.poll()
        guard(None)
        with (
            open(os.memfd_create("stderr"), "w+b") as stderr,
            subprocess.Popen(
                [self._program, *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            ) as process,
        ):
            try:
                guard(process.pid)
                assert process.stdout  # noqa: S101 - it was asked for
                poll.register(process.stdout)
                while len(LINE.findall(said)) < len(self._directories) and time.monotonic() < end:
                    self._run.check()
                    if poll.poll(1000):
                        data = os.read(process.stdout.fileno(), 4096)
                        if not data:
                            break
                        said += data
            finally:  # a container that has started needs its client no more
                process.kill()
                process.wait()
                guard(None)
            found: list[bytes] = LINE.findall(said)
            if len(found) < len(self._directories):
                stderr.seek(0)
                why = (said + stderr.read())[-500:].decode("utf-8", "replace").strip()
                why = why or f"it says nothing for {PATIENCE_S:g} s"
                raise SystemFailure(f"No container starts that says what Docker has mounted: {why}")
        return found

    def _arguments(self) -> list[str]:
        arguments = ["run", "--rm", f"--name={self._name}", "--network=none", "--user=0", "--log-driver=none"]
        arguments += [f"--label={name}={value}" for name, value in sorted(self._run.labels.items())]
        arguments += ownership.helper_mounts()
        places: list[str] = []
        for bind in self._directories:
            places.append(f"/tree/{len(places)}")
            seen = bind._replace(target=places[-1])
            volume = volume_option(seen, bind.source, "", self._volumes[bind.target], self._run.labels)
            arguments.append(f"--mount={volume}")
        return [*arguments, ownership.HELPER_IMAGE, "/bin/sh", "-c", SCRIPT, "sh", *places]
