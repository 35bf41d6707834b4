"""A hook of MkDocs: what the pages name of the repository beside docs/ is part of the site, too.

Links are written for who reads the files where they lie. A link out of docs/ leads to a copy below
`repository/`, or, to a source or a test, becomes mere text; the README is the first page. All that is
linked must exist: warnings are errors.
"""

import logging
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[2]
COPIED = (
    *("CHANGELOG.md", "LICENSE", "settings.toml", "bench/README.md"),
    *("docker/dts/README.md", "docker/keycloak/README.md"),
    *("docker/grafana/tesp.json", "docker/prometheus/tesp-alerts.yaml"),
    *("examples/hello.json", "examples/words/Snakefile", "examples/words/words.cwl"),
)
LINK = re.compile(r"(?P<before>\[(?P<text>[^][]*)\]\()(?P<to>[^)#\s]+)(?P<after>#[^)\s]*\)|\))")
IMAGE = re.compile(r'(?P<before><img src=")(?P<to>[^"]+)(?P<after>")')

log = logging.getLogger("mkdocs.hooks.links")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README, and what pages link to outside of docs/."""
    added = {"README.md": REPOSITORY / "README.md"}
    added |= {f"repository/{name}": REPOSITORY / name for name in COPIED}
    for name, path in added.items():
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links of a page lead where things are in the site."""
    folder = posixpath.dirname(in_repository(page.file.src_uri))

    def moved(link: re.Match[str]) -> str:
        if re.match(r"[a-z]+:", link["to"]):
            return link.group()
        path = posixpath.normpath(posixpath.join(folder, link["to"]))
        if not (REPOSITORY / path).exists():
            log.warning("%s links to %s, which does not exist", page.file.src_uri, link["to"])
        if not path.startswith("docs/") and path not in (*COPIED, "README.md"):
            return link["text"]
        there = posixpath.relpath(in_site(path), posixpath.dirname(page.file.src_uri) or ".")
        return link["before"] + there + link["after"]

    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    parts[::2] = (IMAGE.sub(moved, LINK.sub(moved, part)) for part in parts[::2])
    return "".join(parts)


def in_repository(page: str) -> str:
    """Where a page of the site lies in the repository."""
    return (
        page.removeprefix("repository/") if page == "README.md" or "repository/" in page else f"docs/{page}"
    )


def in_site(path: str) -> str:
    """Where a file of the repository is in the site."""
    if path == "README.md":
        return path
    return path.removeprefix("docs/") if path.startswith("docs/") else f"repository/{path}"
