"""Where `tesp run outputs` fetches files from, and where it saves them."""

from pathlib import Path

from tesp_api.cli.run_output import files_among

HERE = "/tesp/v1/runs/r1/files"


def test_files_come_from_the_server_that_was_asked() -> None:
    found = {
        "a": {"class": "File", "location": f"https://evil.example.org{HERE}/a", "basename": "a.txt"},
        "b": {"class": "File", "location": "https://elsewhere.example.org/b"},
    }
    assert list(files_among(found, Path("to"))) == [(f"{HERE}/a", Path("to/a.txt"))]


def test_names_stay_in_the_folder_and_apart() -> None:
    found = [
        {"class": "File", "location": f"http://s{HERE}/1/x", "basename": "../../x"},
        {"class": "File", "location": f"http://s{HERE}/2/x"},
        {"class": "File", "location": f"http://s{HERE}/3/..", "basename": ".."},
        {"class": "File", "location": f"http://s{HERE}/a%20b", "secondaryFiles": []},
    ]
    places = [path for _, path in files_among(found, Path("to"))]
    assert places == [Path("to/x"), Path("to/2/x"), Path("to/file"), Path("to/a b")]


def test_directories_that_list_files_are_folders() -> None:
    def file(name: str) -> dict[str, str]:
        return {"class": "File", "location": f"http://s{HERE}/{name}", "basename": name.rpartition("/")[2]}

    deep = {"class": "Directory", "basename": "../b", "listing": [file("a/b/x")]}
    found = {
        "a": {"class": "Directory", "basename": "a", "listing": [file("a/x"), deep]},
        "d": {"class": "Directory", "location": f"http://s{HERE}/d", "listing": [file("d/x")]},
    }
    places = [path for _, path in files_among(found, Path("to"))]
    assert places == [Path("to/a/x"), Path("to/a/b/x"), Path("to/d/x")]
