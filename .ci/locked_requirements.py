"""Print poetry.lock as hashed pip requirements, so that an install needs pip alone.

Usage: python3 .ci/locked_requirements.py [GROUP ...] [--without FILE]
The group is main unless others are named; "dev" adds the test tools. FILE has names to leave out, one a line.
"""

import argparse
import tomllib
from pathlib import Path


def main(groups: set[str], without: set[str]) -> None:
    lock = tomllib.loads((Path(__file__).parent.parent / "poetry.lock").read_text())
    for package in lock["package"]:
        wanted = groups & set(package["groups"])
        if not wanted or package["name"] in without:
            continue
        markers = package.get("markers", "")
        if isinstance(markers, dict):  # one marker per group; a group without one is unconditional
            markers = " or ".join(f"({markers[g]})" for g in wanted) if wanted <= set(markers) else ""
        line = f"{package['name']}=={package['version']}"
        if markers:
            line += f" ; {markers}"
        hashes = [f" --hash={file['hash']}" for file in package["files"]]
        print(line + " \\\n " + " \\\n ".join(hashes))


def names_in(file: Path) -> set[str]:
    """Those on the lines of a file; what follows a # is a comment."""
    return {line.partition("#")[0].strip() for line in file.read_text().splitlines()} - {""}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("groups", nargs="*")
    parser.add_argument("--without", type=Path)
    asked = parser.parse_args()
    main(set(asked.groups) or {"main"}, names_in(asked.without) if asked.without else set())
