"""The File and Directory objects among a run's params: what is wrong with their form."""

from collections.abc import Iterator, Mapping
from typing import Any

KINDS = ("File", "Directory")
_TEXTS = ("location", "path", "basename", "contents")
_LISTS = ("listing", "secondaryFiles")


def file_faults(params: Mapping[str, Any]) -> Iterator[str]:
    """Each thing wrong, by the place of its field: `workflow_params.reads.listing[0]: must be ...`."""
    return _faults(dict(params), "workflow_params")


def _faults(value: Any, at: str) -> Iterator[str]:
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _faults(item, f"{at}[{number}]")
    elif isinstance(value, dict):
        if value.get("class") in KINDS:
            yield from _own_faults(value, at)
        for key, item in value.items():
            yield from _faults(item, f"{at}.{key}")


def _own_faults(value: Mapping[str, Any], at: str) -> Iterator[str]:
    """Of one object, without those of the objects in it."""
    for name in _TEXTS:
        if not isinstance(value.get(name) or "", str):
            yield f"{at}.{name}: must be a string"
    for name in _LISTS:
        items = value.get(name)
        if items is not None and not isinstance(items, list):
            yield f"{at}.{name}: must be a list of File and Directory objects"
            continue
        for number, item in enumerate(items or ()):
            if not isinstance(item, dict) or item.get("class") not in KINDS:
                yield f"{at}.{name}[{number}]: must be an object whose class is File or Directory"
