"""Where the files of a step lie in its containers: the same place, however often the step comes up."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, MutableSequence
from typing import Any

from cwltool.pathmapper import MapperEnt, PathMapper
from cwltool.utils import dedup
from schema_salad.ref_resolver import file_uri

LITERALS = ("CreateFile", "CreateWritableFile")
WRITABLE = ("WritableFile", "WritableDirectory")


class UrlPathMapper(PathMapper):
    """Maps URLs to paths in the container; nothing of it is on this machine.

    Each file with its secondary files has a directory of its own, numbered in the order of the inputs.
    """

    def __init__(
        self,
        referenced_files: MutableSequence[Any],
        basedir: str,
        stagedir: str,
        separateDirs: bool = True,  # noqa: N803
        *,
        store_literal: Callable[[str, str], str],
    ) -> None:
        self._store_literal = store_literal
        self._stored: dict[str, str] = {}
        super().__init__(dedup(referenced_files), basedir, stagedir, separateDirs)

    def setup(self, referenced_files: MutableSequence[Any], basedir: str) -> None:
        for number, one in enumerate(referenced_files):
            folder = posixpath.join(self.stagedir, f"stg{number}") if self.separateDirs else self.stagedir
            self.visit(one, folder, basedir, copy=bool(one.get("writable")), staged=True)

    def visit(self, obj: Any, stagedir: str, basedir: str, copy: bool = False, staged: bool = False) -> None:
        location = obj["location"]
        if location in self._pathmap:
            return
        stagedir = obj.get("dirname") or stagedir
        target = posixpath.join(stagedir, obj["basename"])
        is_literal = location.startswith("_:")
        if obj["class"] == "Directory":
            kind = "WritableDirectory" if copy else "Directory"
            self._pathmap[location] = MapperEnt(location, target, kind, staged)
            below = staged and is_literal  # one that exists comes with all that is in it
            self.visitlisting(obj.get("listing", []), target, basedir, copy=copy, staged=below)
            return
        if is_literal and "contents" in obj:
            kind = "CreateWritableFile" if copy else "CreateFile"
            self._pathmap[location] = MapperEnt(obj["contents"], target, kind, staged)
        else:
            kind = "WritableFile" if copy else "File"
            self._pathmap[location] = MapperEnt(location, target, kind, staged)
        self.visitlisting(obj.get("secondaryFiles", []), stagedir, basedir, copy=copy, staged=staged)

    def reversemap(self, target: str) -> tuple[str, str] | None:
        """The location of what a step passes on unchanged; a literal becomes a file by that.

        cwltool asks once more about what has its location already, by the path in its file:// URL.
        """
        for location, entry in self._pathmap.items():
            if entry.target == target:
                if entry.type in LITERALS:
                    url = self._store_literal(posixpath.basename(target), entry.resolved)
                    self._stored[url] = location
                    return location, url
                return location, entry.resolved
        url = file_uri(target)
        for location, entry in self._pathmap.items():
            is_directory = (entry.type or "").endswith("Directory")
            if entry.resolved == url or (is_directory and url.startswith(f"{entry.resolved.rstrip('/')}/")):
                return location, url
        return (self._stored[url], url) if url in self._stored else None
