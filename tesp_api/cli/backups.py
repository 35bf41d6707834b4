"""What `tesp db` does, on the store that the settings name."""

import asyncio
import shutil
import signal
import sys
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
from tesp_api.cli.accounts import operator_name
from tesp_api.cli.backup_key import (
    key_check,
    key_of_folder,
    put_key_back,
    warn_of_key,
    warn_of_no_key,
)
from tesp_api.cli.exits import CommandFailed, Exit
from tesp_api.errors import DataFolderInUse, StoreUnavailable, TespError, UpkeepRefused
from tesp_api.store.backup_file import BackupReader
from tesp_api.store.file_swap import give_to_owner_of_folder, new_file, sync_folder, unmark
from tesp_api.store.folder_lock import FolderLock
from tesp_api.tes.times import now, rfc3339

if TYPE_CHECKING:
    from tesp_api.settings import Settings
    from tesp_api.store.upkeep import Inspection, Upgrade

_SCRATCH = ".tesp-backup-"
_KEY_MAX_BYTES = 4096
_OWN_NAMES = ("tesp.sqlite3", "accounts.sqlite3", "secret.key", "audit.log", "lock", "restoring")


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was made; it `is_exact` if all of it is of one moment."""

    counts: Mapping[str, int]
    size_bytes: int
    is_exact: bool
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup that was put back: where, of when it is, and the folder with what was there before, if any."""

    place: str
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
        with _locked(settings.data_dir, is_ours), _not_broken_off():
            return asyncio.run(build_upkeep(settings).upgrade(keep_copy=keep_copy))


def make_backup(settings: "Settings", file: Path, *, force: bool) -> Made:
    """Write a backup to `file`, which is there when it is whole, and not before."""
    with _ending_with_a_message(), _audited(settings, "back up the database", file=str(file.absolute())):
        _check_target(settings, file, force=force)
        _remove_what_killed_ones_left(file.absolute().parent)
        scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=file.absolute().parent))
        mine = FolderLock(scratch)
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            mine.acquire()
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
            mine.release()
            signal.signal(signal.SIGTERM, before)
        return Made(counts, size_bytes, is_exact, warn_of_no_key(settings))


def restore_backup(
    settings: "Settings", file: Path, *, force: bool, yes: bool, make_folder: bool
) -> Restored:
    """Put the backup in `file` in place of the database, and of the server's key.

    A data folder that is not there is made only if `make_folder`.
    """
    if not (make_folder or settings.data_dir.is_dir()):  # before the audit log makes it
        raise CommandFailed(
            f"there is no data folder {settings.data_dir}: if it is the right one, name it by --data, "
            "and it will be made"
        )
    with _ending_with_a_message(), _audited(settings, "restore the database", file=str(file.absolute())):
        with file.open("rb") as opened:
            backup, key = _read_through(opened)
            if settings.store.kind == "mongodb" and not yes:
                raise UpkeepRefused(
                    "servers that have nothing to do are not seen in a MongoDB: stop all of the database "
                    f"{settings.store.database!r}, then say --yes"
                )
            folder = settings.data_dir
            aside = folder / f"before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(folder, True), _not_broken_off():
                upkeep = build_upkeep(settings)
                asyncio.run(upkeep.restore(BackupReader(opened), force=force, aside=aside))
                put_key_back(settings, key, aside)
                unmark(folder)
        return Restored(
            _place(settings),
            str(backup.header.get("created_at", "an unknown time")),
            backup.counts,
            aside if aside.exists() else None,
            warn_of_key(settings, backup.header),
        )


def _place(settings: "Settings") -> str:
    if settings.store.kind == "sqlite":
        return f"the data folder {settings.data_dir}"
    return f"the MongoDB database {settings.store.database!r}, with the data folder {settings.data_dir}"


def _read_through(opened: BinaryIO) -> tuple[BackupReader, bytes]:
    """The backup, found whole, and the key in it, if any: nothing may be changed for one that is not."""
    from tesp_api.storage.server_key import FILE_NAME

    backup, key = BackupReader(opened), b""
    for part, data in backup.data():
        if part == FILE_NAME:
            key += data
        if len(key) > _KEY_MAX_BYTES:
            raise UpkeepRefused(f"the file is damaged, or no backup of tesp's: its {FILE_NAME} is no key")
    return backup, key


def _check_target(settings: "Settings", file: Path, *, force: bool) -> None:
    """Only another backup is ever replaced.

    Raises:
        UpkeepRefused: it is something else, or there is no folder for it.
    """
    folder = file.absolute().parent
    if not folder.is_dir():
        raise UpkeepRefused(f"there is no folder {folder}: make it first")
    if folder.resolve() == settings.data_dir.resolve() and file.name.startswith(_OWN_NAMES):
        raise UpkeepRefused(f"{file} is a file of the server's own: choose another name")
    if not (file.exists() or file.is_symlink()):
        return
    if not force:
        raise UpkeepRefused(f"there is a file {file}: choose another name, or say --force")
    if file.is_symlink() or not file.is_file():
        raise UpkeepRefused(f"{file} is no plain file: choose another name")
    with file.open("rb") as opened:
        try:
            BackupReader(opened)
        except UpkeepRefused:
            raise UpkeepRefused(f"{file} is no backup, and is not replaced: choose another name") from None


def _remove_what_killed_ones_left(folder: Path) -> None:
    """The copies of backups whose process is gone."""
    for left in folder.glob(f"{_SCRATCH}*"):
        lock = FolderLock(left)
        try:
            lock.acquire()
        except (OSError, DataFolderInUse):  # another backup is being made
            continue
        shutil.rmtree(left, ignore_errors=True)
        lock.release()


@contextmanager
def _not_broken_off() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for the end of the block: what is begun would go on in a thread."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
    outcome, who = "failed", operator_name()
    try:
        yield
        outcome = "done"
    except (UpkeepRefused, DataFolderInUse):
        outcome = "refused"
        raise
    finally:
        # a mistyped folder is not made for the sake of its log
        if settings.store.kind == "mongodb" or settings.data_dir.is_dir():
            log = AuditLog(settings)
            log.write(who=f"operator {who}", action=action, **about, outcome=outcome)
            log.close()
