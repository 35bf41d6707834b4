"""All that the API needs of workflow runs, put together by `app.py`."""

from dataclasses import dataclass

from tesp_api.bell import Bell
from tesp_api.storage.work_files import WorkFiles
from tesp_api.store.base import TaskStore
from tesp_api.store.runs import RunStore
from tesp_api.wes.run_creation import RunCreation


@dataclass(frozen=True, slots=True)
class Workflows:
    """The stores, how runs are made, where their files are, and what wakes the conductor."""

    runs: RunStore
    tasks: TaskStore
    creation: RunCreation
    files: WorkFiles
    bell: Bell
