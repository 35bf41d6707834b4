"""What Snakemake and Snakefiles print, as the run's own stdout and stderr."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
import threading

from ...inside.channel import Channel

_PIECE_BYTES = 64 * 1024


class Streams:
    """Takes the place of the process's own; whatever is started here writes there, too."""

    def __init__(self, server: Channel) -> None:
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        self._threads = [
            self._redirect(server, number, name) for number, name in ((1, "stdout"), (2, "stderr"))
        ]

    def close(self) -> None:
        """Return when all has been sent that was printed; nothing may print after that."""
        nothing = os.open(os.devnull, os.O_WRONLY)
        for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
            with contextlib.suppress(Exception):  # a Snakefile may have closed or replaced it
                stream.flush()
            os.dup2(nothing, number)
        for thread in self._threads:
            thread.join(5)

    def _redirect(self, server: Channel, number: int, name: str) -> threading.Thread:
        reading, writing = os.pipe()
        os.dup2(writing, number)
        os.close(writing)
        thread = threading.Thread(target=_send, args=(server, reading, name), name=name, daemon=True)
        thread.start()
        return thread


def _send(server: Channel, reading: int, name: str) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while data := os.read(reading, _PIECE_BYTES):
        server.log(name, decoder.decode(data))
