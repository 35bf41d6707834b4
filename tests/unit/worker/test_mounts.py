"""What of a task is mounted where, and what is fetched otherwise."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tesp_api.worker.errors import SystemFailure
from tesp_api.worker.mounts import Bind, MountPlan, is_below, outermost, pattern_base, plan_mounts
from tesp_api.worker.order import parse_order


def plan(rooted: tuple[Bind, ...] = (), **task: Any) -> MountPlan:
    executors = task.pop("executors", [{"image": "i", "command": ["c"]}])
    document = {
        "version": 1,
        "task_id": "t",
        "attempt": 1,
        "job_id": "j",
        "executors": executors,
        "site": {},
        **task,
    }
    return plan_mounts(parse_order(document), "/job/fs", rooted)


def targets(found: MountPlan) -> list[str]:
    return [bind.target for bind in found.binds]


def output(path: str, **more: str) -> dict[str, str]:
    return {"path": path, "url": "/x", **more}


def test_nothing_declared_still_has_a_tmp() -> None:
    assert plan().binds == (Bind("/tmp", "/job/fs/tmp"),)


def test_nested_mount_points_collapse_into_the_outermost() -> None:
    found = plan(
        volumes=["/data", "/data/vol"],
        inputs=[{"path": "/data/in/x", "content": ""}],
        outputs=[output("/data/out/y"), output("/database/z")],
    )
    assert targets(found) == ["/data", "/database", "/tmp"]
    assert {"/data/vol", "/data/out"} <= set(found.directories)


def test_an_input_file_alone_hides_none_of_its_neighbours() -> None:
    found = plan(inputs=[{"path": "/usr/share/tool/settings", "content": ""}])
    assert Bind("/usr/share/tool/settings", "/job/fs/usr/share/tool/settings", is_file=True) in found.binds


@pytest.mark.parametrize("path", ["/x", "/usr/local/x", "/etc/x", "/opt/x", "/root/x", "/lib64/x"])
def test_output_files_in_system_directories_are_captured(path: str) -> None:
    found = plan(outputs=[output(path)])
    assert (targets(found), found.captures) == (["/tmp"], (path,))


def test_output_files_elsewhere_mount_their_parent() -> None:
    found = plan(outputs=[output("/opt/tool/out/x"), output("/var/spool/x")])
    assert targets(found) == ["/opt/tool/out", "/tmp", "/var/spool"]
    assert found.captures == ()


def test_a_volume_covers_what_would_be_captured() -> None:
    assert plan(volumes=["/opt"], outputs=[output("/opt/x")]).captures == ()


def test_stream_files_in_system_directories_are_left_to_the_worker() -> None:
    found = plan(
        executors=[{"image": "i", "command": ["c"], "stdout": "/out.txt", "stderr": "/log/err"}],
        outputs=[output("/out.txt")],
    )
    assert targets(found) == ["/log", "/tmp"]
    assert (found.written_by_worker, found.captures) == (("/out.txt",), ())


def test_dev_null_is_no_mount() -> None:
    found = plan(executors=[{"image": "i", "command": ["c"], "stdout": "/dev/null"}])
    assert (targets(found), found.written_by_worker) == (["/tmp"], ())


def test_wildcards_mount_their_wildcard_free_parent() -> None:
    found = plan(outputs=[output("/out/run*/x?.txt", path_prefix="/out"), output("/*.log", path_prefix="/")])
    assert targets(found) == ["/out", "/tmp"]
    assert found.capture_patterns == ("/*.log",)


def test_a_path_with_a_bracket_but_no_prefix_is_a_plain_file() -> None:
    assert targets(plan(outputs=[output("/out/a[1]/x")])) == ["/out/a[1]", "/tmp"]


def test_a_rooted_directory_is_mounted_from_where_it_lies_and_never_covered() -> None:
    rooted = Bind("/store", "/shared/store")
    found = plan(
        (rooted,),
        inputs=[{"path": "/store", "type": "DIRECTORY", "url": "/shared/store"}],
        outputs=[output("/store/sub/x")],
    )
    assert set(found.binds) == {Bind("/tmp", "/job/fs/tmp"), rooted}


@pytest.mark.parametrize("path", ["/", "/usr", "/usr/bin", "/etc", "/dev/shm", "/proc/x", "/bin"])
def test_no_volume_may_hide_the_system(path: str) -> None:
    with pytest.raises(SystemFailure, match=path):
        plan(volumes=[path])


def test_relative_paths_are_refused() -> None:
    with pytest.raises(SystemFailure, match="not absolute"):
        plan(volumes=["data"])


@pytest.mark.parametrize(
    ("pattern", "base"),
    [("/a/b*/c", "/a"), ("/a/*", "/a"), ("/*", "/"), ("/a/b/c?[x]", "/a/b")],
)
def test_pattern_base(pattern: str, base: str) -> None:
    assert pattern_base(pattern) == base


paths = st.lists(st.sampled_from(["a", "b", "ab", "a.b", "a-b"]), min_size=1, max_size=4).map(
    lambda parts: "/" + "/".join(parts)
)


@given(st.sets(paths))
def test_the_outermost_paths_cover_all_and_never_each_other(given_paths: set[str]) -> None:
    kept = outermost(given_paths)
    assert all(sum(is_below(path, top) for top in kept) == 1 for path in given_paths)
    assert set(kept) <= given_paths
