"""Files of jobs, read by probes, as few as can be: what a look at a job needs comes with its heartbeat."""

from dataclasses import dataclass, field

from tesp_api.pulsar.amqp_probe import Prober, files_of
from tesp_api.pulsar.job_files import RESULT_FILE, STARTED_FILE

HEARTBEAT = "heartbeat"
EVENTS = "events.ndjson"
_LOOK = (HEARTBEAT, STARTED_FILE, RESULT_FILE, EVENTS)
_LOG_PREFIX = "logs/"
_CHUNKS_AHEAD = 32


@dataclass(slots=True)
class _Look:
    """What the last look at a job brought beside what was asked for, and the sizes of its log chunks."""

    files: dict[str, bytes] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)
    has_not_begun: bool = False


@dataclass(slots=True)
class FilesByProbe:
    """Reads the files of a site's jobs.

    A heartbeat is always read anew. With it come events, result and the chunks of logs that have grown; each
    of them is kept until it is read once, or until the next look.
    """

    prober: Prober
    _looks: dict[str, _Look] = field(init=False, default_factory=dict)

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
        known = self._looks[job_id].known if job_id in self._looks else {}
        errand = {"do": "read", "job": job_id, "names": _LOOK, "known": known}
        files = files_of(await self.prober.run(errand))
        sizes = {name: len(data) for name, data in files.items() if name.startswith(_LOG_PREFIX)}
        heartbeat = files.pop(HEARTBEAT, None)
        self._looks[job_id] = _Look(files, known | sizes, STARTED_FILE not in files)
        return heartbeat


def _names_from(name: str) -> list[str]:
    """The file, and if it is a chunk of a log, the chunks that follow."""
    stem, _, number = name.rpartition(".")
    if not name.startswith(_LOG_PREFIX) or not number.isdecimal():
        return [name]
    return [f"{stem}.{int(number) + more:06d}" for more in range(_CHUNKS_AHEAD)]
