"""How a Python script of a Snakemake rule is run in its task, by a Python without Snakemake."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tesp_api.wes.engines.snakemake import expander

RUNNER = Path(expander.__file__).with_name("run_script.py")


def ran(folder: Path, script: str, **told: Any) -> subprocess.CompletedProcess[str]:
    """The script, run with these values and otherwise empty ones."""
    empty: dict[str, Any] = {"items": [], "names": {}}
    lists = dict.fromkeys(("input", "output", "params", "wildcards", "resources", "log"), empty)
    (folder / "scripts").mkdir(exist_ok=True)
    (folder / "scripts" / "x.py").write_text(script)
    (folder / "told.json").write_text(json.dumps({**lists, "threads": 1, "config": {}, "rule": "r", **told}))
    words = [sys.executable, "-S", str(RUNNER), "scripts/x.py", "told.json"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True)


def test_items_have_their_names_and_places(tmp_path: Path) -> None:
    files = {"items": ["a", "b", "c"], "names": {"first": [0, None], "rest": [1, 3]}}
    script = """
from __future__ import annotations
i = snakemake.input
print(i[0], i.first, i["first"], i.rest, i.rest[1], i.get("none", 7))
print(sorted(i.keys()), dict(i.items())["rest"])
print(" ".join(i), snakemake.threads, snakemake.config["a"]["b"], __file__, __name__)
from snakemake.script import snakemake as other
assert other is snakemake
"""
    ended = ran(tmp_path, script, input=files, threads=4, config={"a": {"b": 1}})
    assert ended.returncode == 0, ended.stderr
    first, second, third = ended.stdout.splitlines()
    assert (first, second) == ("a a a ['b', 'c'] c 7", "['first', 'rest'] ['b', 'c']")
    assert third == "a b c 4 1 scripts/x.py __main__"


def test_it_finds_its_neighbours_and_fails_as_a_script_does(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "near.py").write_text("VALUE = 5\n")
    assert ran(tmp_path, "import near; print(near.VALUE)").stdout == "5\n"
    failed = ran(tmp_path, "\n\nraise ValueError('no')\n")
    assert failed.returncode == 1
    assert 'scripts/x.py", line 3' in failed.stderr
    assert ran(tmp_path, "import sys; sys.exit(9)").returncode == 9
