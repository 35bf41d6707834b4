"""Where workflow runs keep their files, and which of these places a task may name.

Each run has a folder of its own below one base. Tasks of a run may name that folder, and those of earlier
runs that it uses; nobody else's task may name anything below the base, nor a directory that holds it.
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from tesp_api.errors import Fault
from tesp_api.settings import DestinationSettings, Settings
from tesp_api.storage.declared import Declared, declared_in
from tesp_api.tes.paths import is_within, normal_path
from tesp_api.tes.urls import local_path, scheme_of
from tesp_api.worker.urls import extend, split_s3

DEFAULT_FOLDER = Path("wes", "work")
ATTACHMENTS = "attachments"


def base_url(settings: Settings) -> str:
    """The folder of all runs' folders, as a `file://` or `s3://` URL that ends with a slash."""
    url = settings.wes.work_url
    if url is not None and scheme_of(url) == "s3":
        bucket, key = split_s3(url)
        return f"s3://{bucket}/" + "".join(f"{part}/" for part in key.split("/") if part)
    path = settings.data_dir / DEFAULT_FOLDER if url is None else Path(local_path(url) or "")
    return path.as_uri() + "/"


def run_url(settings: Settings, run_id: str) -> str:
    """The folder of a run; it ends with a slash."""
    return f"{base_url(settings)}{run_id}/"


def file_url(work_url: str, path: str) -> str:
    """A file in the folder of a run."""
    return extend(work_url, path)


def attachment_url(work_url: str, name: str) -> str:
    """Where a file of the request that started the run is."""
    return file_url(work_url, f"{ATTACHMENTS}/{name}")


def is_below(url: str, folder_url: str) -> bool:
    """Whether a valid `url` names the folder, one of `file://` or `s3://`, or something in it."""
    folder = local_path(folder_url)
    if folder is not None:
        path = local_path(url)
        return path is not None and is_within(path, folder)
    return scheme_of(url) == "s3" and _s3_path(url).startswith(_s3_path(folder_url))


def _s3_path(url: str) -> str:
    """Bucket and key, with a slash at the end, so that a folder is no prefix of its neighbours.

    Some servers take several slashes for one, and a bucket's letters may become those of a host.
    """
    bucket, key = split_s3(url)
    return "".join(f"{part}/" for part in (bucket.lower(), *key.split("/")) if part)


class WorkPlaces:
    """Says which tasks may name which runs' folders, and who reaches them. Immutable."""

    def __init__(self, settings: Settings) -> None:
        self._base = base_url(settings)
        self._folder = local_path(self._base)
        self._destinations = settings.destinations

    def faults(self, document: Mapping[str, Any], own: Collection[str]) -> Iterator[Fault]:
        """What the document of a valid task names without being allowed to, by its field.

        `own` are the folders of the run whose task it is, and of those that it uses; the first alone is for
        outputs. Empty for a task that is of no run.
        """
        for kind in ("inputs", "outputs"):
            for at, item in enumerate(document.get(kind, ())):
                for declared in declared_in({kind: [item]}):
                    if fault := self._fault(declared, own):
                        yield Fault(f"{kind}[{at}].url", fault)

    def _fault(self, declared: Declared, own: Collection[str]) -> str:
        if is_below(declared.url, self._base):
            allowed = list(own)[:1] if declared.direction == "out" else own
            if any(
                is_below(declared.url, folder) and not is_below(folder, declared.url) for folder in allowed
            ):
                return ""
            return "lies where workflow runs keep their files, which only their own tasks may name"
        if declared.is_tree and is_below(self._base, declared.url):
            return "is a directory in which workflow runs keep their files: name one beside these"
        return ""

    def folders_named_in(self, document: Mapping[str, Any]) -> list[str]:
        """The local folders of runs that a stored task names; it may, or it would not be stored."""
        if self._folder is None:
            return []
        paths = (local_path(declared.url) for declared in declared_in(document))
        return list(
            dict.fromkeys(
                f"{self._folder}/{path[len(self._folder) + 1 :].partition('/')[0]}"
                for path in paths
                if path is not None and is_within(path, self._folder)
            )
        )

    def reached_from(self, document: Mapping[str, Any]) -> frozenset[str] | None:
        """The destinations that reach the runs' folders that the task names; None if any will do."""
        if not self.folders_named_in(document):
            return None
        return frozenset(name for name, site in self._destinations.items() if self.reaches(site))

    def reaches(self, site: DestinationSettings) -> bool:
        """Whether the workers of a destination see the folder of runs; S3 can be reached from everywhere."""
        if self._folder is None or site.kind == "embedded":
            return True
        return any(is_within(self._folder, normal_path(str(root.path))) for root in site.file_roots)
