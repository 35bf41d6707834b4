"""What is made of a worker's events, be they true or not."""

from typing import Any

import pytest

from tesp_api.metrics.timeline import Timeline


def at(second: float) -> str:
    return f"2026-01-01T00:00:{second:09.6f}+00:00"


def told(*events: dict[str, Any]) -> Timeline:
    timeline = Timeline()
    for event in events:
        timeline.add_event(event)
    return timeline


WHOLE = (
    {"event": "initializing", "at": at(1)},
    {"event": "executor_started", "executor": 0, "at": at(3)},
    {"event": "executor_ended", "at": at(7.5), "started_at": at(3), "ended_at": at(7), "exit_code": 0},
    {"event": "executor_started", "executor": 1, "at": at(8)},
    {"event": "executor_ended", "at": at(9), "started_at": at(8), "ended_at": at(9), "exit_code": 2},
    {"event": "staging_out", "at": at(10)},
    {"event": "ended", "state": "COMPLETE", "at": at(14)},
)


def phases(timeline: Timeline) -> list[tuple[str, float, int | None]]:
    return [
        (one.name, (one.ended_at - one.began_at).total_seconds(), one.exit_code) for one in timeline.phases()
    ]


def test_the_phases_of_an_attempt() -> None:
    assert phases(told(*WHOLE)) == [
        ("initializing", 2, None),
        ("executor", 4, 0),
        ("executor", 1, 2),
        ("uploading", 4, None),
    ]


def test_an_attempt_that_ended_while_it_fetched_its_inputs() -> None:
    assert phases(told(WHOLE[0], WHOLE[-1])) == [("initializing", 13, None)]


def test_nothing_is_known_of_one_that_never_began() -> None:
    assert phases(told()) == [] and told().began_at is None


@pytest.mark.parametrize("when", ["", "yesterday", 5, None, "2026-01-01T00:00:00", at(0)])
def test_times_that_make_no_sense_are_left_out(when: Any) -> None:
    wrong = {"event": "executor_ended", "at": when, "started_at": at(1), "ended_at": when, "exit_code": "x"}
    assert phases(told(WHOLE[0], wrong, {"event": "ended", "at": when})) == []


def moving(done_bytes: Any, second: float, **more: Any) -> dict[str, Any]:
    about = {"direction": "input", "url": "s3://lab/reads", "path": "/reads"} | more
    return {"event": "transfer", "at": at(second), "done_bytes": done_bytes, "ended": False, **about}


def test_a_transfer_is_known_by_its_first_and_last_event() -> None:
    [one] = told(moving(10, 2), moving(20, 3), moving(90, 6, ended=True)).transfers()
    assert (one.direction, one.protocol, one.done_bytes, one.took_s) == ("input", "s3", 90, 5)


def test_a_transfer_that_has_not_ended_is_not_told() -> None:
    assert list(told(moving(10, 2), moving(20, 3)).transfers()) == []


@pytest.mark.parametrize(
    ("url", "protocol"),
    [
        ("HTTPS://a/b", "https"),
        ("/data/x", "file"),
        ("gopher://a", "other"),
        ("x" * 500, "other"),
        (5, "content"),
    ],
)
def test_no_word_of_the_site_becomes_a_label(url: Any, protocol: str) -> None:
    [one] = told(moving(10, 2, url=url, ended=True)).transfers()
    assert one.protocol == protocol
    assert list(told(moving(10, 2, direction="sideways", ended=True)).transfers()) == []


def test_what_was_moved_is_counted_by_the_result_and_mounts_are_not() -> None:
    timeline = told()
    moved = {"url": "ftp://a/b", "size_bytes": 5, "sha256": "x"}
    for _ in range(2):  # which may come again
        timeline.add_result(
            {
                "inputs": [moved, moved, {"url": "file:///big", "size_bytes": 10**12}, "nonsense"],
                "outputs": [moved | {"url": "s3://l/o", "size_bytes": -7}],
            }
        )
    assert timeline.moved_bytes == {("ftp", "input"): 10, ("s3", "output"): 0}
