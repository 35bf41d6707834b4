"""What `tesp run submit` sends along by itself."""

from pathlib import Path

import pytest

from tesp_api.cli.attachments import (
    attached_by_hand,
    params_with_files,
    read_params,
    workflow_with_its_files,
)
from tesp_api.cli.exits import CommandFailed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "flows/main.cwl": "steps: {a: {run: ../tools/a.cwl}, b: {run: 'b b.cwl#part'}, c: {run: '#own'}}\n"
        "requirements: [{$import: types.yml}]\ninputs: {r: {default: {class: File, path: ref.fa}}}\n",
        "flows/b b.cwl": "class: CommandLineTool\nrun: https://example.org/x.cwl\n",
        "flows/types.yml": "a: {$include: ../tools/script.py}\n",
        "flows/ref.fa": "ACGT",
        "tools/a.cwl": "steps: {m: {run: ../flows/main.cwl}}\n",
        "tools/script.py": "{ not: [yaml",
        "data/d/one": "1",
        "data/d/sub/two": "2",
        "data/reads.fa": "AC",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_workflow_brings_what_it_names(folder: Path) -> None:
    found = workflow_with_its_files(f"{folder}/flows/main.cwl#main")
    assert found.workflow_url == "flows/main.cwl#main"
    assert sorted(found.files) == [
        *("flows/b b.cwl", "flows/main.cwl", "flows/ref.fa", "flows/types.yml"),
        *("tools/a.cwl", "tools/script.py"),
    ]
    alone = workflow_with_its_files(f"{folder}/flows/b b.cwl")
    assert (list(alone.files), alone.workflow_url) == (["b b.cwl"], "b b.cwl")
    assert workflow_with_its_files("https://a.org/w.cwl#m") == ({}, "https://a.org/w.cwl#m")


def test_a_workflow_that_is_not_there(folder: Path) -> None:
    with pytest.raises(CommandFailed, match="cannot be read"):
        workflow_with_its_files(f"{folder}/none.cwl")


def test_local_files_of_params_are_attached(folder: Path) -> None:
    params = {
        "reads": {"class": "File", "path": "reads.fa", "secondaryFiles": [{"class": "File", "path": "none"}]},
        "again": {"class": "File", "location": f"file://{folder}/data/reads.fa"},
        "all": [{"class": "Directory", "path": "d"}],
        "web": {"class": "File", "location": "https://a.org/x"},
        "earlier": {"class": "File", "location": "run://r/x"},
        "text": "reads.fa",
    }
    told, files = params_with_files(params, folder / "data")
    assert told["reads"]["location"] == told["again"]["location"] == "inputs/0/reads.fa"
    assert "path" not in told["reads"]
    assert told["all"] == [{"class": "Directory", "location": "inputs/1/d"}]
    assert (told["web"], told["earlier"]) == (params["web"], params["earlier"])
    assert told["text"] == "reads.fa"
    assert sorted(files) == ["inputs/0/reads.fa", "inputs/1/d/one", "inputs/1/d/sub/two"]
    assert files["inputs/1/d/sub/two"].read_text() == "2"


def test_attachments_by_hand_keep_their_places(folder: Path) -> None:
    data = folder / "data"
    found = attached_by_hand([f"{data}/d", f"{data}/reads.fa=x/y.fa", f"{folder}/flows/ref.fa"], data)
    assert sorted(found) == ["d/one", "d/sub/two", "ref.fa", "x/y.fa"]
    with pytest.raises(CommandFailed, match="not there"):
        attached_by_hand([f"{folder}/none"], data)


def test_params_are_a_file_or_a_text(folder: Path) -> None:
    (folder / "p.yml").write_text("a: [1]\n")
    assert read_params(str(folder / "p.yml")) == ({"a": [1]}, folder)
    assert read_params('{"a": 1}')[0] == {"a": 1}
    assert read_params(None)[0] == {}
    (folder / "p.yml").write_text("- a\n")
    for wrong in (str(folder / "p.yml"), "{a", str(folder / "none")):
        with pytest.raises(CommandFailed):
            read_params(wrong)
