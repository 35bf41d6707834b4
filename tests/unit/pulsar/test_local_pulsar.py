"""The locks of the embedded Pulsar's jobs; what it does with jobs is tested by the contract suite."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tesp_api.pulsar.local_pulsar import LocalPulsar


def test_no_job_waits_for_another_one(tmp_path: Path) -> None:
    pulsar = LocalPulsar(tmp_path, "python3")

    def use_others() -> None:
        for number in range(300):
            with pulsar._alone(f"other-{number}"):
                pass

    with ThreadPoolExecutor(1) as thread, pulsar._alone("job"):
        thread.submit(use_others).result(timeout=10)
    assert pulsar._locks == {}, "a lock is left of a job with which nothing is done"


def test_one_thing_at_a_time_is_done_with_a_job(tmp_path: Path) -> None:
    pulsar = LocalPulsar(tmp_path, "python3")
    inside = threading.Semaphore(1)

    def use(_: int) -> None:
        with pulsar._alone("job"):
            assert inside.acquire(blocking=False)
            inside.release()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(400)))
    assert pulsar._locks == {}
