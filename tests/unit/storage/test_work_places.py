"""Which tasks may name the folders of workflow runs, and who reaches them."""

from pathlib import Path
from typing import Any

import pytest

from tesp_api.settings import Settings
from tesp_api.storage.work_places import WorkPlaces, attachment_url, base_url, is_below, run_url


def settings(work_url: str | None = None, **destinations: Any) -> Settings:
    tables = {"data_dir": "/data", "wes": {"work_url": work_url}}
    return Settings.model_validate(tables | ({"destinations": destinations} if destinations else {}))


@pytest.mark.parametrize(
    ("work_url", "base"),
    [
        (None, "file:///data/wes/work/"),
        ("/shared/runs", "file:///shared/runs/"),
        ("file:///shared//a b/", "file:///shared/a%20b/"),
        ("s3://lab", "s3://lab/"),
        ("s3://lab/runs//x/", "s3://lab/runs/x/"),
    ],
)
def test_each_run_has_a_folder_of_its_own(work_url: str | None, base: str) -> None:
    assert base_url(settings(work_url)) == base
    assert run_url(settings(work_url), "r1") == f"{base}r1/"


def test_names_are_percent_encoded_but_not_in_s3() -> None:
    assert attachment_url("file:///w/r1/", "a b/#") == "file:///w/r1/attachments/a%20b/%23"
    assert attachment_url("s3://b/r1/", "a b/#") == "s3://b/r1/attachments/a b/#"


@pytest.mark.parametrize(
    ("url", "folder", "below"),
    [
        ("file:///w/r1/x", "file:///w/r1/", True),
        ("/w/r1", "file:///w/r1/", True),
        ("/w//r1/./x", "file:///w/r1/", True),
        ("file:///w/%721/x", "file:///w/r1/", True),
        ("file:///w/r1x", "file:///w/r1/", False),
        ("file:///w/r1/../r2/x", "file:///w/r1/", False),
        ("http://w/r1/", "file:///w/r1/", False),
        ("s3://b/r1/x", "s3://b/r1/", True),
        ("S3://b/r1", "s3://b/r1/", True),
        ("s3://b//r1/x", "s3://b/r1/", True),
        ("s3://B/r1/x", "s3://b/r1/", True),
        ("s3://b/r1x", "s3://b/r1/", False),
        ("s3://b", "s3://b/r1/", False),
        ("s3://b/x", "s3://b/", True),
        ("s3://bb/x", "s3://b/", False),
        ("/b/r1", "s3://b/r1/", False),
    ],
)
def test_what_lies_in_a_folder(url: str, folder: str, below: bool) -> None:
    assert is_below(url, folder) is below


OWN, OTHER = "file:///data/wes/work/r1/", "file:///data/wes/work/r2/"


@pytest.mark.parametrize(
    ("document", "own", "field"),
    [
        ({"inputs": [{"url": f"{OWN}x"}]}, [], "inputs[0].url"),
        ({"inputs": [{"url": "/data/wes/work/r1/x"}]}, [], "inputs[0].url"),
        ({"outputs": [{"url": f"{OWN}x", "path": "/x"}]}, [], "outputs[0].url"),
        ({"inputs": [{"url": f"{OWN}x"}], "outputs": [{"url": f"{OWN}y", "path": "/x"}]}, [OWN], None),
        ({"inputs": [{"url": f"{OTHER}x"}]}, [OWN], "inputs[0].url"),
        ({"inputs": [{"url": f"{OTHER}x"}]}, [OWN, OTHER], None),
        ({"outputs": [{"url": f"{OTHER}x", "path": "/x"}]}, [OWN, OTHER], "outputs[0].url"),
        ({"inputs": [{"url": "file:///data/wes/work/", "type": "DIRECTORY"}]}, [OWN], "inputs[0].url"),
        ({"inputs": [{"url": OWN, "type": "DIRECTORY"}]}, [OWN], "inputs[0].url"),
        ({"inputs": [{"url": "/data", "type": "DIRECTORY"}]}, [], "inputs[0].url"),
        ({"inputs": [{"url": "/", "type": "DIRECTORY"}]}, [], "inputs[0].url"),
        ({"outputs": [{"url": "/data", "path": "/x/*", "path_prefix": "/x"}]}, [], "outputs[0].url"),
        ({"inputs": [{"url": "/data/reads.fa"}], "outputs": [{"url": "/data/o", "path": "/o"}]}, [], None),
        ({"inputs": [{"url": f"{OWN}x", "content": "this instead"}]}, [], None),
    ],
)
def test_only_a_runs_own_tasks_may_name_its_folder(document: Any, own: list[str], field: str | None) -> None:
    found = [fault.field for fault in WorkPlaces(settings()).faults(document, own)]
    assert found == ([] if field is None else [field])


def test_directories_of_s3_that_hold_the_folder_are_refused() -> None:
    places = WorkPlaces(settings("s3://lab/runs/"))
    for url, refused in (("s3://lab/", True), ("s3://lab/runs/r9/", True), ("s3://lab/ru", False)):
        found = list(places.faults({"inputs": [{"url": url, "type": "DIRECTORY"}]}, []))
        assert bool(found) is refused, url


def test_the_folders_that_a_task_gets() -> None:
    document = {
        "inputs": [{"url": f"{OTHER}x"}, {"url": "/elsewhere/x"}],
        "outputs": [{"url": f"{OWN}y", "path": "/y"}],
    }
    assert WorkPlaces(settings()).folders_named_in(document) == ["/data/wes/work/r2", "/data/wes/work/r1"]
    assert WorkPlaces(settings("s3://lab/")).folders_named_in(document) == []


def test_who_reaches_the_folder() -> None:
    rest = {"kind": "rest", "url": "http://p"}
    shared = rest | {"file_roots": [{"path": "/shared", "mount": "ro"}]}
    document = {"outputs": [{"url": "file:///shared/runs/r1/x", "path": "/x"}]}
    places = WorkPlaces(settings("/shared/runs", here={}, there=rest, cluster=shared))
    assert places.reached_from(document) == frozenset({"here", "cluster"})
    assert places.reached_from({"outputs": [{"url": "file:///other", "path": "/x"}]}) is None
    everywhere = WorkPlaces(settings("s3://lab/", there=rest))
    assert everywhere.reached_from({"outputs": [{"url": "s3://lab/r1/x", "path": "/x"}]}) is None


def test_settings_that_are_no_folder(tmp_path: Path) -> None:
    for wrong in ("runs", "http://a/b", "s3://", "/a%20b", "/a#b"):
        with pytest.raises(ValueError, match="absolute path"):
            settings(wrong)
