"""Which workers are dead for certain."""

import os

import pytest

from tesp_api.worker.process import kernel_identity, pid_started, worker_is_dead, worker_label


def test_this_worker_lives() -> None:
    assert not worker_is_dead(worker_label())


def test_a_worker_whose_pid_is_another_process_now_is_dead() -> None:
    assert worker_is_dead(f"{os.getpid()}:{(pid_started() or 0) - 1}:{kernel_identity()}")


def test_a_worker_without_a_process_is_dead() -> None:
    assert worker_is_dead(f"4194305:77:{kernel_identity()}")


@pytest.mark.parametrize(
    "label", ["", "1", "4194305:77:", "4194305:77:another-boot/1", "4194305:0:", "x:y:z"]
)
def test_what_cannot_be_known_is_not_called_dead(label: str) -> None:
    assert not worker_is_dead(label)
