"""What goes along with a Snakefile: the files that are named, each at its place."""

from pathlib import Path
from typing import Any

import pytest

from tesp_api.cli.exits import CommandFailed
from tesp_api.cli.run_client import RunClient
from tesp_api.cli.snakefiles import is_snakefile, snakefile_with_its_files

TREE = {
    "workflow/Snakefile": 'configfile: "config/config.yaml"\ninclude: "rules/a.smk"\nx = "data/{s}.fq"\n',
    "workflow/rules/a.smk": "rule a:\n    input: 'data/ref.fa'\n    script: \"../scripts/plot.py\"\n"
    "rule b:\n    shell: 'sh workflow/scripts/join.sh {input} > {output}'\n",
    "workflow/scripts/join.sh": "cat data/secret.txt",
    "workflow/scripts/plot.py": 'open("data/secret.txt")\n',
    "config/config.yaml": "samples: config/samples.tsv\nnot: there.txt\nlist: [config/more.tsv]\n",
    "config/samples.tsv": "data/one.fq\n",
    "config/more.tsv": "",
    "config/other.yaml": "",
    "data/ref.fa": "",
    "data/one.fq": "",
    "data/secret.txt": "",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in TREE.items():
        path = tmp_path / "flow" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "outside.txt").touch()
    return tmp_path / "flow"


def test_what_is_named_goes_along(folder: Path) -> None:
    found = snakefile_with_its_files(
        str(folder / "workflow/Snakefile"), {"x": ["config/other.yaml", "../outside.txt"]}
    )
    assert found.workflow_url == "workflow/Snakefile"
    assert sorted(found.files) == [
        "config/config.yaml",
        "config/more.tsv",
        "config/other.yaml",
        "config/samples.tsv",
        "data/ref.fa",
        "workflow/Snakefile",
        "workflow/rules/a.smk",
        "workflow/scripts/join.sh",
        "workflow/scripts/plot.py",
    ]
    assert found.files["data/ref.fa"] == folder / "data/ref.fa"


def test_a_snakefile_alone_is_where_its_paths_begin(folder: Path) -> None:
    found = snakefile_with_its_files(str(folder / "workflow/rules/a.smk"), {})
    assert (found.workflow_url, sorted(found.files)) == ("a.smk", ["a.smk"])
    with pytest.raises(CommandFailed, match="no such file"):
        snakefile_with_its_files(str(folder / "Snakefile"), {})


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("Snakefile", True),
        ("a/snakefile.py", True),
        ("x.smk", True),
        ("x.cwl", False),
        ("Snakefiles/x", False),
    ],
)
def test_names(path: str, is_one: bool) -> None:
    assert is_snakefile(path) is is_one


def test_what_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_text = Path.read_text

    def refuse(path: Path, **options: Any) -> str:
        if path.name == "config.yaml":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, **options)

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(CommandFailed, match=r"config/config\.yaml cannot be read: Permission denied"):
        snakefile_with_its_files(str(folder / "workflow/Snakefile"), {})


def test_a_file_that_cannot_be_sent_is_named(folder: Path) -> None:
    client: Any = None
    with pytest.raises(CommandFailed, match=r"rules cannot be read: Is a directory"):
        RunClient(client).submit({}, {"rules": folder / "workflow/rules"})
