"""The witness: a container that says what Docker has mounted, where its daemon does not see our descriptors.

That is a daemon in another mount namespace: an ordinary user's, or in a container, as the worker itself may
be. It is told paths, as volumes with names. A volume is mounted once for all containers that have it, so what
the witness sees is what the next one gets, as long as the witness stays.
"""

from __future__ import annotations

import os
import select
import subprocess
from typing import Mapping, Sequence

from .. import ownership
from ..errors import SystemFailure
from ..mounts import Bind
from .base import Run, as_csv
from .docker_shared import volume_option
from .shared import identity

PATIENCE_MS = 60_000
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

    def testify(self, opened: Mapping[str, int]) -> dict[str, str]:
        """Start it; returns values of `--mount` by target for what has the identity of what is open.

        Raises: SystemFailure if that is not so of every directory.
        """
        ownership.make_helper_image(self._program)
        said = self._hear()
        if said.splitlines() != ["{} {}".format(*identity(opened[target])) for target in self._volumes]:
            targets = " or ".join(self._volumes)
            raise SystemFailure(
                f"What is mounted at {targets} was replaced, or Docker sees another: {said[-500:]}"
            )
        return {bind.target: self._option(bind) for bind in self._directories}

    def _option(self, bind: Bind) -> str:
        fields = ["type=volume", f"source={self._volumes[bind.target]}", f"target={bind.target}"]
        return as_csv(bind, [*fields, "volume-nocopy=true", *([] if bind.writable else ["readonly"])])

    def _hear(self) -> str:
        """A line of each directory: its device and its inode; less if the witness does not start."""
        process = subprocess.Popen(
            [self._program, *self._arguments()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout  # noqa: S101 - it was asked for
        with process.stdout as stdout:
            poll, said = select.poll(), b""
            poll.register(stdout)
            while said.count(b"\n") < len(self._directories) and poll.poll(PATIENCE_MS):
                data = os.read(stdout.fileno(), 4096)
                if not data:
                    break
                said += data
        return said.decode("utf-8", "replace")

    def _arguments(self) -> list[str]:
        arguments = ["run", "--rm", f"--name={self._name}", "--network=none", "--user=0", "--log-driver=none"]
        arguments += [f"--label={name}={value}" for name, value in sorted(self._run.labels.items())]
        arguments += ownership.helper_mounts()
        places: list[str] = []
        for bind in self._directories:
            places.append(f"/tree/{len(places)}")
            seen = bind._replace(target=places[-1])
            arguments.append(f"--mount={volume_option(seen, bind.source, name=self._volumes[bind.target])}")
        return [*arguments, ownership.HELPER_IMAGE, "/bin/sh", "-c", SCRIPT, "sh", *places]
