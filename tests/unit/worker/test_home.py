"""The file that goes home by itself: small, plain text, the most important first."""

import base64
import json
from pathlib import Path

from tesp_api.worker.home import HOME_MAX_BYTES, write_home
from tesp_api.worker.job import JobDirectory


def home_of(tmp_path: Path, files: dict[str, bytes]) -> dict[str, bytes]:
    job = JobDirectory(str(tmp_path))
    (tmp_path / "metadata" / "tesp" / "logs").mkdir(parents=True)
    for name, data in files.items():
        (tmp_path / "metadata" / "tesp" / name).write_bytes(data)
    write_home(job)
    text = Path(job.home).read_bytes()
    assert len(text) <= HOME_MAX_BYTES and text.isascii()
    return {name: base64.b64decode(data) for name, data in json.loads(text)["files"].items()}


def test_all_of_a_short_job_goes_home(tmp_path: Path) -> None:
    files = {"heartbeat": b"{}", "result.json": b"{1}", "events.ndjson": b"\n"}
    files |= {"logs/0.stdout.000000": b"\xff\x00", "logs/0.stderr.000000": b""}
    assert home_of(tmp_path, files) == files


def test_of_long_logs_the_ends_go_home(tmp_path: Path) -> None:
    chunks = {
        f"logs/{number}.{stream}.{chunk:06d}": bytes([chunk]) * 40_000
        for number in (0, 1)
        for stream in ("stdout", "stderr")
        for chunk in range(5)
    }
    found = home_of(tmp_path, {"heartbeat": b"{}", "result.json": b"{1}", **chunks})
    assert found.items() <= ({"heartbeat": b"{}", "result.json": b"{1}"} | chunks).items()
    assert {name for name in chunks if name.endswith(".000004")} <= found.keys()


def test_a_large_result_leaves_room_for_the_heartbeat(tmp_path: Path) -> None:
    found = home_of(tmp_path, {"heartbeat": b"{}", "result.json": b"x" * 300_000, "events.ndjson": b"e\n"})
    assert found == {"heartbeat": b"{}", "events.ndjson": b"e\n"}


def test_a_worker_that_could_not_even_begin_has_something_to_say(tmp_path: Path) -> None:
    assert home_of(tmp_path, {}) == {}
