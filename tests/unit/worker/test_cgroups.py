"""Programs begin inside their control group, or not at all."""

import subprocess
from pathlib import Path

from tesp_api.worker.cgroups import begun_inside


def run_in(directories: list[str], *argv: str) -> subprocess.CompletedProcess[str]:
    command = begun_inside(directories, argv)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_enters_the_directory_of_each_controller(tmp_path: Path) -> None:
    for name in ("memory", "cpu"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").touch()
    done = run_in(
        [str(tmp_path / name) for name in ("memory", "cpu")], "printf", "%s|", "a b", "--", "$HOME", ""
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "a b|--|$HOME||", "")
    assert [path.read_text() for path in tmp_path.glob("*/cgroup.procs")] == ["0\n", "0\n"]


def test_outside_of_its_group_nothing_runs(tmp_path: Path) -> None:
    done = run_in([str(tmp_path / "gone")], "touch", str(tmp_path / "ran"))
    assert done.returncode != 0 and not done.stdout
    assert f"{tmp_path}/gone" in done.stderr
    assert not (tmp_path / "ran").exists()
