"""What `tesp db` does, on the store that the settings name."""

import asyncio
import getpass
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tesp_api.app import build_upkeep
from tesp_api.audit_log import AuditLog
from tesp_api.cli.backup_key import key_check, key_of_folder, put_key_back, warn_of_key
from tesp_api.cli.exits import CommandFailed, Exit
from tesp_api.errors import StoreUnavailable, TespError, UpkeepRefused
from tesp_api.store.backup_file import BackupReader
from tesp_api.store.file_swap import give_to_owner_of_folder, new_file, sync_folder
from tesp_api.store.folder_lock import FolderLock
from tesp_api.tes.times import now, rfc3339

if TYPE_CHECKING:
    from tesp_api.settings import Settings
    from tesp_api.store.upkeep import Inspection, Upgrade


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was made; it `is_exact` if all of it is of one moment."""

    counts: Mapping[str, int]
    size_bytes: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup that was put back: of when it is, and the folder with what was there before, if there was."""

    created_at: str
    counts: Mapping[str, int]
    aside: Path | None
    warnings: Sequence[str]


def inspect_store(settings: "Settings") -> "Inspection":
    """What there is."""
    with _ending_with_a_message():
        return asyncio.run(build_upkeep(settings).inspect())


def upgrade_store(settings: "Settings", *, keep_copy: bool) -> "Upgrade":
    """Bring the database to the present schema."""
    with _ending_with_a_message(), _audited(settings, "upgrade the database"):
        # Of a MongoDB's servers this folder knows nothing; and they may open it while it is upgraded.
        is_ours = settings.store.kind == "sqlite" and settings.data_dir.exists()
        with _locked(settings.data_dir, is_ours):
            return asyncio.run(build_upkeep(settings).upgrade(keep_copy=keep_copy))


def make_backup(settings: "Settings", file: Path, *, force: bool) -> Made:
    """Write a backup to `file`, which is there when it is whole, and not before."""
    with _ending_with_a_message(), _audited(settings, "back up the database", file=str(file.absolute())):
        if file.exists() and not force:
            raise UpkeepRefused(f"there is a file {file}: choose another name, or say --force")
        if not file.absolute().parent.is_dir():
            raise UpkeepRefused(f"there is no folder {file.absolute().parent}: make it first")
        scratch = Path(tempfile.mkdtemp(prefix=".tesp-backup-", dir=file.absolute().parent))
        try:
            draft = scratch / "draft"
            with new_file(draft) as written:
                counts = asyncio.run(
                    build_upkeep(settings).back_up(
                        written, _about(settings), key_of_folder(settings), scratch
                    )
                )
            with draft.open("rb") as made:
                is_exact = bool(BackupReader(made).header["exact"])
            size_bytes = draft.stat().st_size
            draft.replace(file)
            sync_folder(file.absolute().parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return Made(counts, size_bytes, is_exact)


def restore_backup(settings: "Settings", file: Path, *, force: bool, yes: bool) -> Restored:
    """Put the backup in `file` in place of the database, and of the server's key."""
    with _ending_with_a_message(), _audited(settings, "restore the database", file=str(file.absolute())):
        with file.open("rb") as opened:
            backup, key = _read_through(opened)
            if settings.store.kind == "mongodb" and not yes:
                raise UpkeepRefused(
                    "servers that have nothing to do are not seen in a MongoDB: stop all of the database "
                    f"{settings.store.database!r}, then say --yes"
                )
            folder = settings.data_dir
            aside = folder / f"before-restore-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(folder, True):
                upkeep = build_upkeep(settings)
                asyncio.run(upkeep.restore(BackupReader(opened), force=force, aside=aside))
                put_key_back(settings, key, aside)
        return Restored(
            str(backup.header.get("created_at", "an unknown time")),
            backup.counts,
            aside if aside.exists() else None,
            warn_of_key(settings, backup.header),
        )


def _read_through(opened: BinaryIO) -> tuple[BackupReader, bytes]:
    """The backup, found whole, and the key in it, if any: nothing may be changed for one that is not."""
    from tesp_api.storage.server_key import FILE_NAME

    backup = BackupReader(opened)
    key = b"".join(data for part, data in backup.data() if part == FILE_NAME)
    return backup, key


def _about(settings: "Settings") -> dict[str, Any]:
    return {
        "made_by": f"tesp {version('tesp-api')}",
        "created_at": rfc3339(now()),
        "key_check": key_check(settings),
    }


@contextmanager
def _locked(folder: Path, is_ours: bool) -> Iterator[None]:
    """Keep servers off the folder, where it `is_ours` to keep."""
    if not is_ours:
        yield
        return
    lock = FolderLock(folder)
    lock.acquire()
    try:
        give_to_owner_of_folder(folder / "lock")
        yield
    finally:
        lock.release()


@contextmanager
def _ending_with_a_message() -> Iterator[None]:
    try:
        yield
    except StoreUnavailable as error:
        raise CommandFailed(str(error), Exit.UNREACHABLE) from None
    except TespError as error:
        raise CommandFailed(str(error)) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise CommandFailed(f"{where}{error.strerror or error}") from None


@contextmanager
def _audited(settings: "Settings", action: str, **about: str) -> Iterator[None]:
    outcome = "refused"
    try:
        yield
        outcome = "done"
    finally:
        log = AuditLog(settings)
        log.write(who=f"operator {getpass.getuser()}", action=action, **about, outcome=outcome)
        log.close()
