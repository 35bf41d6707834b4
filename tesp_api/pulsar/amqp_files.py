"""Files of jobs, read by probes, as few as can be: what a look at a job needs comes with its heartbeat."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tesp_api.errors import PulsarUnavailable
from tesp_api.pulsar.amqp_probe import Answer, Errand, Prober, files_of
from tesp_api.pulsar.job_files import RESULT_FILE, STARTED_FILE

HEARTBEAT = "heartbeat"
EVENTS = "events.ndjson"
_LOOK = (HEARTBEAT, STARTED_FILE, RESULT_FILE, EVENTS)
_LOG_PREFIX = "logs/"
_CHUNKS_AHEAD = 32


@dataclass(slots=True)
class _Look:
    """What the last look at a job brought beside what was asked for, and the sizes of its log chunks.

    Chunks that have come since, too late for who asked, wait for the next look.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)
    has_not_begun: bool = False
    late: dict[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class FilesByProbe:
    """Reads the files of a site's jobs.

    A heartbeat is always read anew. With it come events, result and the chunks of logs that have grown; each
    of them is kept until it is read once, or until the next look.
    """

    prober: Prober
    _looks: dict[str, _Look] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.prober.late = self._take_late

    async def read(self, job_id: str, name: str) -> bytes | None:
        """The content of a file; None if there is none.

        Raises:
            PulsarUnavailable: the site gives no answer.
        """
        if name == HEARTBEAT:
            return await self._look(job_id)
        look = self._looks.setdefault(job_id, _Look())
        if name in look.files:
            return look.files.pop(name)
        if name == STARTED_FILE and look.has_not_begun:
            look.has_not_begun = False
            return None
        if name == RESULT_FILE:
            look.files.clear()  # logs that were read before may have grown since
        files = files_of(await self.prober.run({"do": "read", "job": job_id, "names": _names_from(name)}))
        look.files.update(files)
        return look.files.pop(name, None)

    def forget(self, job_id: str) -> None:
        """The job is cleaned, or followed elsewhere."""
        self._looks.pop(job_id, None)

    async def _look(self, job_id: str) -> bytes | None:
        look = self._looks.setdefault(job_id, _Look())
        errand = {"do": "read", "job": job_id, "names": _LOOK, "known": look.known}
        files = files_of(await self.prober.run(errand))
        sizes = _log_sizes(files)
        heartbeat = files.pop(HEARTBEAT, None)
        self._looks[job_id] = _Look(look.late | files, look.known | sizes, STARTED_FILE not in files)
        return heartbeat

    def _take_late(self, errand: Errand, answer: Answer) -> None:
        """Logs that nobody waits for any more: else each probe would bring them again."""
        look = self._looks.get(errand["job"])
        if look is None or errand["do"] != "read":
            return
        try:
            files = files_of(answer)
        except PulsarUnavailable:
            return
        for name, size_bytes in _log_sizes(files).items():
            if size_bytes > look.known.get(name, 0):
                look.late[name] = files[name]
                look.known[name] = size_bytes


def _log_sizes(files: Mapping[str, bytes]) -> dict[str, int]:
    return {name: len(data) for name, data in files.items() if name.startswith(_LOG_PREFIX)}


def _names_from(name: str) -> list[str]:
    """The file, and if it is a chunk of a log, the chunks that follow."""
    stem, _, number = name.rpartition(".")
    if not name.startswith(_LOG_PREFIX) or not number.isdecimal():
        return [name]
    return [f"{stem}.{int(number) + more:06d}" for more in range(_CHUNKS_AHEAD)]
