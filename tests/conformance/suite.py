"""The tests of a suite, as runs of ours."""

import copy
import functools
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

from tests.services.install import CWLTEST_VENV, install


@dataclass(frozen=True, slots=True)
class ConformanceTest:
    """One test: a workflow with its inputs, and what should come of it."""

    id: str
    doc: str
    tags: frozenset[str]
    workflow_url: str
    params: Mapping[str, Any]
    output: Any = field(default_factory=dict)
    should_fail: bool = False
    exit_code: int | None = None
    reason: str = ""

    @property
    def is_required(self) -> bool:
        return "required" in self.tags


@functools.cache
def use_cwltest() -> None:
    """Let cwltest and what it imports be found, after all that is ours."""
    install(CWLTEST_VENV)
    found = next(CWLTEST_VENV.glob("lib/python*/site-packages"))
    sys.path.append(str(found))


def load_suite(folder: Path, index: str = "conformance_tests.yaml") -> list[ConformanceTest]:
    """All tests of an index, in its order; an entry may import another index."""
    return [
        ConformanceTest(
            id=str(item["id"]),
            doc=str(item.get("doc", "")).strip(),
            tags=frozenset(item.get("tags") or ()),
            workflow_url=urljoin(base.as_uri(), item["tool"]),
            params=_params(item.get("job"), base),
            output=_output(item.get("output") or {}, base),
            should_fail=bool(item.get("should_fail")),
            exit_code=item.get("exit_code"),
            reason=item.get("reason", ""),
        )
        for base, item in _entries((folder / index).resolve())
    ]


def _entries(index: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for item in _read_yaml(index):
        if "$import" in item:
            yield from _entries((index.parent / item["$import"]).resolve())
        else:
            yield index, item


def _output(output: Any, index: Path) -> Any:
    """What is expected, or what the file that it imports says."""
    if isinstance(output, dict) and "$import" in output:
        return _read_yaml(index.parent / output["$import"])
    return output


def _params(job: Any, index: Path) -> dict[str, Any]:
    """The inputs, or those in a file; their files get absolute URLs, relative ones beginning at that file."""
    base = index.parent / job if isinstance(job, str) else index
    params: dict[str, Any] = _read_yaml(base) if isinstance(job, str) else copy.deepcopy(job or {})
    _visit(params, lambda item: _make_absolute(item, base))
    return params


def _make_absolute(item: dict[str, Any], job: Path) -> None:
    for name in ("location", "path"):
        if name in item:
            item["location"] = urljoin(job.as_uri(), item[name])
            if name == "path":
                del item["path"]


def _visit(value: Any, change: Callable[[dict[str, Any]], None]) -> None:
    if isinstance(value, dict):
        if value.get("class") in ("File", "Directory"):
            change(value)
        for one in list(value.values()):
            _visit(one, change)
    elif isinstance(value, list):
        for one in value:
            _visit(one, change)


def _read_yaml(file: Path) -> Any:
    """As plain JSON: what WES sends."""
    use_cwltest()
    from ruamel.yaml import YAML

    return json.loads(
        json.dumps(YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8")), default=str)
    )


def local_name(url: str) -> str:
    """The last part of a URL, decoded."""
    return unquote(url.rstrip("/").rpartition("/")[2])
