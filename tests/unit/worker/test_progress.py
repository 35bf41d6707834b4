"""Progress of transfers: told seldom, once at the end, and summed up for many files."""

import os
from pathlib import Path
from typing import Any

import pytest

from tesp_api.worker.cancellation import Cancellation
from tesp_api.worker.order import Patience
from tesp_api.worker.progress import Progress, Tally
from tesp_api.worker.transfer import Site, Source
from tesp_api.worker.transfer.moving import Partial, Reading

DAY_S = 24 * 3600


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Told:
    """What a `Progress` says, on a clock of ours; its own thread finds nothing new to say."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.clock = Clock()
        self.progress = Progress(self._take, self.clock)

    def _take(self, name: str, **fields: Any) -> None:
        assert name == "transfer"
        self.events.append(fields)

    def round_after(self, pause_s: float) -> float:
        self.clock.now += pause_s
        return self.progress.tell_round()

    @property
    def bytes(self) -> list[tuple[int, int | None, bool]]:
        return [(event["done_bytes"], event["total_bytes"], event["ended"]) for event in self.events]


@pytest.fixture
def told() -> Told:
    return Told()


def test_what_is_over_within_a_second_is_not_told(told: Told) -> None:
    for number in range(5000):
        with told.progress.watch(Tally(1, url=str(number))) as tally:
            tally.begin("file", 4096).done_bytes = 4096
            told.round_after(0.0001)
            tally.finish("file")
    told.progress.close()
    assert told.events == []


def test_a_long_transfer_is_told_of_while_it_moves_and_at_its_end(told: Told) -> None:
    tally = Tally(1, direction="input", url="http://a/b", path="/b")
    with told.progress.watch(tally):
        counter = tally.begin("/b", 100)
        counter.done_bytes = 10
        told.round_after(1)
        told.round_after(1)  # nothing has moved
        counter.done_bytes = 60
        told.round_after(1)
        counter.done_bytes = 100
        tally.finish("/b")
    told.progress.close()
    assert told.bytes == [(10, 100, False), (60, 100, False), (100, 100, True)]
    assert told.events[0] == {
        "direction": "input",
        "url": "http://a/b",
        "path": "/b",
        "done_bytes": 10,
        "total_bytes": 100,
        "files_done": 0,
        "files_total": 1,
        "ended": False,
    }


def test_the_events_of_a_day_are_few(told: Told) -> None:
    tally = Tally(1)
    with told.progress.watch(tally):
        counter = tally.begin("file")
        began_at, pause_s = told.clock.now, 1.0
        while told.clock.now < began_at + DAY_S:
            counter.done_bytes += 1
            pause_s = told.round_after(pause_s)
            assert pause_s >= max(1, 0.02 * (told.clock.now - began_at))
    assert 100 < len(told.events) < 450


def test_the_files_of_one_output_are_summed_up_until_the_last_has_arrived(told: Told) -> None:
    tally = Tally(3, direction="output")
    for _ in range(3):
        with told.progress.watch(tally):
            tally.begin(7, 10).done_bytes = 10  # descriptors are used again
            told.round_after(1)
            tally.finish(7)
    told.progress.close()
    assert [(event["files_done"], event["done_bytes"], event["ended"]) for event in told.events] == [
        (0, 10, False),
        (1, 20, False),
        (2, 30, False),
        (3, 30, True),
    ]
    assert {event["files_total"] for event in told.events} == {3}
    assert {event["total_bytes"] for event in told.events} == {None}


def test_a_transfer_that_fails_or_is_left_behind_is_told_to_have_ended(told: Told) -> None:
    failing, left = Tally(1, url="failing"), Tally(2, url="left")
    with pytest.raises(OSError, match="cut"), told.progress.watch(left), told.progress.watch(failing):
        for tally in (failing, left):
            tally.begin("file", 10).done_bytes = 5
        told.round_after(1)
        raise OSError("cut")
    assert [(event["url"], event["ended"]) for event in told.events[2:]] == [
        ("failing", True),
        ("left", True),
    ]
    abandoned = Tally(2)
    with told.progress.watch(abandoned):
        abandoned.begin("file").done_bytes = 1
        told.round_after(1)
    told.progress.close()
    assert told.bytes[-1] == (1, None, True)
    told.round_after(100)
    assert told.bytes[-1] == (1, None, True)


def test_what_was_received_anew_counts_once(tmp_path: Path) -> None:
    tally = Tally(1)
    site = Site((), Cancellation(str(tmp_path / "cancel")), print, Patience())._replace(progress=tally)
    with Partial("http://a/b", str(tmp_path / "file"), site) as part:
        part.restart("first", 6)
        part.write(b"abc")
        assert (tally.fields()["done_bytes"], tally.fields()["total_bytes"]) == (3, 6)
        part.restart("second", 4)
        assert tally.fields()["done_bytes"] == 0
        part.write(b"wxyz")
        assert tally.fields()["files_done"] == 0
    assert (tally.fields()["done_bytes"], tally.fields()["files_done"], tally.is_over) == (4, 1, True)


def test_what_is_sent_again_counts_once(tmp_path: Path) -> None:
    tally = Tally(1)
    site = Site((), Cancellation(str(tmp_path / "cancel")), print, Patience())._replace(progress=tally)
    (tmp_path / "file").write_bytes(b"abcdef")
    with (tmp_path / "file").open("rb") as file:
        status = os.fstat(file.fileno())
        source = Source(file.fileno(), 6, status.st_mtime_ns, status.st_mode, "file")
        for _ in range(2):
            assert b"".join(Reading(source, site)) == b"abcdef"
            assert (tally.fields()["done_bytes"], tally.fields()["total_bytes"]) == (6, 6)
