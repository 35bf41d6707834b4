"""A `RunHost` whose steps end as a test says, at once; its files are real."""

from collections.abc import Callable, Collection, Sequence

from tesp_api.settings import Settings
from tesp_api.storage.credentials import Credentials
from tesp_api.storage.s3_signing import S3Signer
from tesp_api.tes.states import State
from tesp_api.wes.engines.base import EngineRun, LogName, RunFiles, Step, StepEnd
from tesp_api.wes.files import StorageFiles

Ends = Callable[[Step], StepEnd]


def failed(_: Step) -> StepEnd:
    """The end of a step that failed."""
    return StepEnd("task-1", State.EXECUTOR_ERROR, {"logs": [{"exit_code": 1, "stderr": "it went wrong\n"}]})


class FakeRunHost:
    """`steps` are those that were submitted, `logs` what the engine has said."""

    def __init__(
        self, run: EngineRun, settings: Settings, ends: Ends = failed, *, readable: Sequence[str] = ()
    ) -> None:
        self._ends = ends
        self.files: RunFiles = StorageFiles(
            settings, Credentials(settings.credentials), S3Signer(), owner="alice", run=run, readable=readable
        )
        self.steps: list[Step] = []
        self.canceled: list[str] = []
        self.logs: dict[LogName, bytes] = {"stdout": b"", "stderr": b""}

    async def submit(self, step: Step) -> str:
        if step.key not in [one.key for one in self.steps]:
            self.steps.append(step)
        return step.key

    async def known_keys(self) -> Collection[str]:
        return [step.key for step in self.steps]

    async def wait(self, task_id: str) -> StepEnd:
        return self._ends(next(step for step in self.steps if step.key == task_id))

    async def cancel(self, task_id: str, reason: str) -> None:
        self.canceled.append(task_id)

    async def log(self, name: LogName, data: bytes) -> None:
        self.logs[name] += data
