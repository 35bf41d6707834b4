"""Local files of a client in workflow_params: wes-client tells those that it attaches by their own paths.

A File or Directory object whose location is a `file://` URL below no file root, of the same name as one
attachment, means that attachment.
"""

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tesp_api.settings import Settings
from tesp_api.tes.paths import is_within, normal_path
from tesp_api.tes.urls import local_path, scheme_of

_PLACES = ("location", "path")


def with_attached_files(
    params: Mapping[str, Any], attachments: Sequence[str], settings: Settings
) -> tuple[Mapping[str, Any], list[str]]:
    """The params with such locations told by the attachments' names, and a line about each for the user."""
    by_name: dict[str, list[str]] = {}
    for name in attachments:
        by_name.setdefault(posixpath.basename(name), []).append(name)
    roots = [
        normal_path(str(root.path)) for site in settings.destinations.values() for root in site.file_roots
    ]
    told: list[str] = []

    def attached(url: Any) -> str | None:
        path = local_path(url) if isinstance(url, str) and scheme_of(url) == "file" else None
        if path is None or any(is_within(path, root) for root in roots):
            return None
        found = by_name.get(posixpath.basename(path), [])
        return found[0] if len(found) == 1 else None

    def replaced(value: Any) -> Any:
        if isinstance(value, list):
            return [replaced(item) for item in value]
        if not isinstance(value, dict):
            return value
        value = {key: replaced(item) for key, item in value.items()}
        for place in _PLACES if value.get("class") in ("File", "Directory") else ():
            if name := attached(value.get(place)):
                told.append(f"{value[place][:200]} is taken for the attachment {name[:200]}")
                value[place] = quote(name)
        return value

    return {key: replaced(value) for key, value in params.items()}, told
