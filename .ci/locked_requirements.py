"""Print poetry.lock as hashed pip requirements, so that an install needs pip alone.

Usage: python3 .ci/locked_requirements.py [GROUP ...]     (default: main; "dev" adds the test tools)
"""

import sys
import tomllib
from pathlib import Path


def main(groups: set[str]) -> None:
    lock = tomllib.loads((Path(__file__).parent.parent / "poetry.lock").read_text())
    for package in lock["package"]:
        wanted = groups & set(package["groups"])
        if not wanted:
            continue
        markers = package.get("markers", "")
        if isinstance(markers, dict):  # one marker per group; a group without one is unconditional
            markers = " or ".join(f"({markers[g]})" for g in wanted) if wanted <= set(markers) else ""
        line = f"{package['name']}=={package['version']}"
        if markers:
            line += f" ; {markers}"
        hashes = [f" --hash={file['hash']}" for file in package["files"]]
        print(line + " \\\n " + " \\\n ".join(hashes))


if __name__ == "__main__":
    main(set(sys.argv[1:]) or {"main"})
