"""Permits: which worker of an attempt may begin, and whether it may send its outputs. A pure function."""

from tesp_api.errors import PermitRefused
from tesp_api.store.base import Permit, PermitStep
from tesp_api.tes.states import FINAL, State

GOING_ON = tuple(state for state in State if state not in FINAL and state is not State.CANCELING)
"""The states of tasks whose workers may go on."""


def check_permit(
    attempt: int, worker: str, step: PermitStep, *, state: State, present: int, permit: Permit | None
) -> None:
    """Return if a worker of this attempt may have this, the task being in `state`, at attempt `present`.

    Raises:
        PermitRefused: it may not.
    """
    if attempt != present:
        raise PermitRefused(f"the task is at attempt {present}, not {attempt}")
    if state is State.CANCELING:
        raise PermitRefused("the task is being canceled", is_canceled=True)
    if state in FINAL:
        raise PermitRefused(f"the task has ended {state}", is_canceled=state is State.CANCELED)
    if permit is not None and permit.step == "revoked":
        raise PermitRefused(f"attempt {attempt} of the task was given up")
    if permit is not None and permit.worker != worker:
        raise PermitRefused(f"another worker has begun attempt {attempt} of the task")
    if permit is None and step == "commit":
        raise PermitRefused(f"this worker was never permitted to begin attempt {attempt}")
