"""`tesp db` on both stores: what it finds, what a backup has, and what is never lost on the way."""

import contextlib
import errno
import gzip
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.errors import BulkWriteError, OperationFailure

from tesp_api.errors import StoreError
from tesp_api.store import backup_file, mongo_schema, sqlite_schema
from tesp_api.store.backup_file import BackupReader, BackupWriter
from tesp_api.store.base import TaskQuery, TaskStore
from tesp_api.store.folder_lock import FolderLock
from tesp_api.store.mongo_errors import translated
from tests.factories import make_task
from tests.integration.upkeep import Place, fill, read_all
from tests.services.mongod import Mongod

MakePlace = Callable[[], Place]
STORE = Path(mongo_schema.__file__).parent


@pytest.fixture(scope="module", params=["sqlite", pytest.param("mongodb", marks=pytest.mark.services)])
def mongod_of_kind(request: pytest.FixtureRequest) -> Mongod | None:
    """Where the databases of a test are: a replica set, or data folders alone."""
    if request.param == "sqlite":
        return None
    running: Mongod = request.getfixturevalue("mongod_replica_set")
    return running


@pytest.fixture
def another(mongod_of_kind: Mongod | None, tmp_path: Path) -> Iterator[MakePlace]:
    """Makes places of one kind, each empty."""
    made: list[Place] = []

    def make() -> Place:
        made.append(Place(tmp_path / f"data{len(made)}", mongod_of_kind))
        return made[-1]

    yield make
    for place in made:
        if place.mongod is not None:
            place.mongod.drop(place.database)


@pytest.fixture
def place(another: MakePlace) -> Place:
    """One with something in it."""
    filled = another()
    filled.run(fill)
    return filled


@pytest.fixture(scope="module")
def source(mongod_of_kind: Mongod | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One with something in it that no test changes."""
    filled = Place(tmp_path_factory.mktemp("source") / "data", mongod_of_kind)
    filled.run(fill)
    filled.write_key("ab")
    yield filled
    if mongod_of_kind is not None:
        mongod_of_kind.drop(filled.database)


@pytest.fixture
def mongo(mongod_replica_set: Mongod, tmp_path: Path) -> Iterator[Place]:
    filled = Place(tmp_path / "data", mongod_replica_set)
    filled.run(fill)
    yield filled
    mongod_replica_set.drop(filled.database)


@pytest.fixture
def sqlite(tmp_path: Path) -> Place:
    filled = Place(tmp_path / "data", None)
    filled.run(fill)
    return filled


def newest(place: Place) -> int:
    return len(sqlite_schema.MIGRATIONS) if place.mongod is None else mongo_schema.newest_version()


def failed(place: Place, *words: str | Path, code: int = 1) -> str:
    """What a command says that fails."""
    result = place.tesp(*words)
    assert result.exit_code == code, result.output
    assert not result.stdout
    return re.sub(r"\s+", " ", result.stderr)


# -- check


def test_a_store_that_is_not_there_yet_is_no_fault(another: MakePlace) -> None:
    place = another()
    found = place.check()
    assert (found["schema"], found["standing"], found["usable"], found["faults"]) == (None, "none", True, [])
    assert "the first start makes it" in place.done("check")
    assert not place.folder.exists() or not place.files()


def test_check_says_what_there_is(source: Place) -> None:
    found = source.check()
    assert found["store"] == ("sqlite" if source.mongod is None else "mongodb")
    assert found["schema"] == found["newest"] == newest(source)
    assert (found["standing"], found["usable"], found["faults"]) == ("current", True, [])
    assert found["tasks"] == {"COMPLETE": 1, "QUEUED": 1}
    assert (found["runs"], found["users"], found["tokens"]) == ({"QUEUED": 1}, 1, 1)
    said = source.done("check")
    where = str(source.folder / "tesp.sqlite3") if source.mongod is None else f"database {source.database}"
    for words in (where, f"{newest(source)}, that of this tesp", "whole yes", "1 COMPLETE, 1 QUEUED"):
        assert words in re.sub(r" +", " ", said)
    if source.mongod is not None:
        assert "a replica set (rs0)" in said and source.mongod.url not in said


def test_check_looks_while_a_server_runs_and_changes_nothing(place: Place) -> None:
    with place.live() as call:
        call(lambda tasks, *_: tasks.create(make_task()))
        assert place.check()["tasks"]["QUEUED"] == 2


def test_an_older_database_is_usable_and_a_newer_one_is_not(place: Place) -> None:
    place.set_schema(newest(place) - 1)
    assert (place.check()["standing"], place.tesp("check").exit_code) == ("older", 0)
    assert "tesp db upgrade" in place.done("check")
    place.set_schema(99)
    found = place.tesp("check")
    assert found.exit_code == 1 and "NEWER" in found.stdout
    assert (place.check()["usable"], place.check()["schema"]) == (False, 99)
    assert "knows only up to" in failed(place, "upgrade")
    assert "knows only up to" in failed(place, "backup", place.folder / "b")


def test_a_missing_index_is_a_fault(place: Place) -> None:
    name = place.drop_index()
    found = place.tesp("check", "--json")
    assert found.exit_code == 1
    [fault] = json.loads(found.stdout)["faults"]
    assert name in fault


def test_a_damaged_file_is_a_fault(sqlite: Place) -> None:
    file = sqlite.folder / "tesp.sqlite3"
    with file.open("r+b") as opened:
        opened.seek(4096 * 3)
        opened.write(b"\xff" * 4096 * 4)
    assert sqlite.tesp("check").exit_code == 1
    assert sqlite.check()["faults"]
    target = sqlite.folder.parent / "b"
    assert "database" in failed(sqlite, "backup", target)
    assert not target.exists()
    file.write_bytes(b"no database at all" * 1000)
    assert "not a database" in sqlite.check()["faults"][0]


def test_a_mongodb_that_is_away_is_another_exit_code(tmp_path: Path) -> None:
    place = Place(tmp_path, None)
    place.more = {"TESP_API_STORE__URL": "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=100&timeoutMS=200"}
    for command in (("check",), ("upgrade",), ("backup", tmp_path / "b")):
        assert "MongoDB: " in failed(place, *command, code=3)
    assert not (tmp_path / "b").exists()


# -- backup and restore


def test_what_is_restored_is_what_was(source: Place, another: MakePlace, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    before, names = source.run(read_all), source.files()
    os.umask(umask := os.umask(0))
    said = source.done("backup", file)
    assert os.umask(umask) == umask
    assert "2 tasks" in said and "1 run," in said and "1 user;" in said
    assert source.files() == names
    assert file.stat().st_mode & 0o777 == 0o600
    other = another()
    said = other.done("restore", file)
    assert "2 tasks" in said
    assert (other.check()["standing"], other.check()["faults"]) == ("current", [])
    assert other.run(read_all) == before
    key = other.folder / "secret.key"
    assert (key.read_text(), key.stat().st_mode & 0o777) == ("ab" * 32 + "\n", 0o600)
    assert other.files() <= {"secret.key", "tesp.sqlite3", "accounts.sqlite3"}
    assert {path.name for path in tmp_path.iterdir()} == {"backup", "data0"}


def test_a_backup_is_of_one_moment(
    place: Place, another: MakePlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what comes while it is being made, nothing is in it."""
    before = place.run(read_all)
    with place.live() as call:
        begin = BackupWriter.begin
        late: list[str] = []

        def begin_late(writer: BackupWriter, part: str) -> None:
            if part in ("tesp.sqlite3", "users"):
                late.append(call(lambda tasks, *_: tasks.create(make_task(name="late"))))
            begin(writer, part)

        monkeypatch.setattr(BackupWriter, "begin", begin_late)
        place.done("backup", tmp_path / "backup")
        assert len(late) == 1
    other = another()
    other.done("restore", tmp_path / "backup")
    assert other.run(read_all) == before


def test_a_backup_has_what_a_server_has_only_just_written(
    place: Place, another: MakePlace, tmp_path: Path
) -> None:
    async def count(tasks: TaskStore, *_: Any) -> int:
        return len((await tasks.list_states(TaskQuery())).items)

    with place.live() as call:
        call(lambda tasks, *_: tasks.create(make_task()))
        place.done("backup", tmp_path / "backup")
    other = another()
    other.done("restore", tmp_path / "backup")
    assert other.run(count) == 3


@pytest.mark.services
def test_a_server_that_stands_alone_has_a_backup_with_a_warning(mongod: Mongod, tmp_path: Path) -> None:
    place, other = Place(tmp_path / "data", mongod), Place(tmp_path / "other", mongod)
    try:
        place.run(fill)
        result = place.tesp("backup", tmp_path / "backup")
        assert result.exit_code == 0 and "stands alone" in result.stderr
        assert "stands alone" in place.done("check")
        other.done("restore", tmp_path / "backup")
        assert other.run(read_all) == place.run(read_all)
    finally:
        mongod.drop(place.database)
        mongod.drop(other.database)


@pytest.mark.services
def test_a_backup_that_takes_too_long_says_what_to_do(
    mongo: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = BackupWriter.begin

    def too_late(writer: BackupWriter, part: str) -> None:
        if part == "tasks":
            raise OperationFailure("Read timestamp is older than the oldest available", 239)
        begin(writer, part)

    monkeypatch.setattr(BackupWriter, "begin", too_late)
    assert "minSnapshotHistoryWindowInSeconds" in failed(mongo, "backup", tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_a_file_that_is_there_is_replaced_on_request_alone(source: Place, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    source.done("backup", file)
    older = file.read_bytes()
    assert "--force" in failed(source, "backup", file)
    assert file.read_bytes() == older
    source.done("backup", file, "--force")
    assert file.read_bytes() != older
    with file.open("rb") as opened:
        assert list(BackupReader(opened).data())
    assert "make it first" in failed(source, "backup", tmp_path / "nowhere" / "backup")


def test_a_full_disk_leaves_no_half_file(
    source: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(writer: BackupWriter, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    source.done("backup", tmp_path / "old")
    old = (tmp_path / "old").read_bytes()
    monkeypatch.setattr(BackupWriter, "write", full)
    assert "No space left" in failed(source, "backup", tmp_path / "new")
    assert "No space left" in failed(source, "backup", tmp_path / "old", "--force")
    assert (tmp_path / "old").read_bytes() == old
    assert {path.name for path in tmp_path.iterdir()} == {"old"}


def test_nothing_is_changed_for_a_damaged_file(source: Place, tmp_path: Path) -> None:
    file = tmp_path / "backup"
    source.done("backup", file)
    whole, before, names = file.read_bytes(), source.run(read_all), source.files()
    middle = len(whole) // 2
    flipped = bytes([whole[middle] ^ 1])
    content = gzip.decompress(whole)
    for damaged in (
        whole[:-1],
        whole[:middle],
        whole[:middle] + flipped + whole[middle + 1 :],
        gzip.compress(content.replace(b"waiting", b"walking")),
        whole + whole,
        b"",
        b"something else",
    ):
        file.write_bytes(damaged)
        assert "damaged, or no backup" in failed(source, "restore", file, "--force")
    assert source.run(read_all) == before
    assert source.files() == names
    assert "No such file" in failed(source, "restore", tmp_path / "nowhere", "--force")


def test_a_store_with_something_in_it_is_replaced_on_request_alone(
    source: Place, another: MakePlace, tmp_path: Path
) -> None:
    source.done("backup", tmp_path / "backup")
    before = source.run(read_all)
    other = another()
    other.run(lambda tasks, *_: tasks.create(make_task(name="another")))
    other.write_key("cd")
    assert "--force" in failed(other, "restore", tmp_path / "backup")
    assert other.check()["tasks"] == {"QUEUED": 1}
    assert (other.folder / "secret.key").read_text() == "cd" * 32 + "\n"
    said = other.done("restore", tmp_path / "backup", "--force")
    assert other.run(read_all) == before
    [aside] = other.folder.glob("before-restore-*")
    assert str(aside) in said
    assert (aside / "secret.key").read_text() == "cd" * 32 + "\n"
    assert aside.stat().st_mode & 0o777 == 0o700
    if other.mongod is None:
        moved_back = another()
        aside.rename(moved_back.folder)
        assert moved_back.check()["tasks"] == {"QUEUED": 1}


def test_a_store_that_was_only_started_counts_as_empty(
    source: Place, another: MakePlace, tmp_path: Path
) -> None:
    source.done("backup", tmp_path / "backup")
    other = another()
    other.run(lambda tasks, *_: tasks.check())
    other.done("restore", tmp_path / "backup")
    assert other.run(read_all) == source.run(read_all)


def test_a_server_that_was_killed_leaves_nothing_that_spoils_a_restore(sqlite: Place, tmp_path: Path) -> None:
    """What it had written to the log alone belongs to the old database, and goes with it."""
    sqlite.done("backup", tmp_path / "backup")
    before = sqlite.run(read_all)
    names = ("tesp.sqlite3", "tesp.sqlite3-wal", "tesp.sqlite3-shm")
    with sqlite.live() as call:
        call(lambda tasks, *_: tasks.create(make_task(name="only in the log")))
        copies = {name: (sqlite.folder / name).read_bytes() for name in names}
    for name, data in copies.items():
        (sqlite.folder / name).write_bytes(data)
    sqlite.done("restore", tmp_path / "backup", "--force")
    assert sqlite.run(read_all) == before
    [aside] = sqlite.folder.glob("before-restore-*")
    with contextlib.closing(sqlite3.connect(aside / "tesp.sqlite3")) as db:
        assert db.execute("SELECT count(*) FROM tasks").fetchone() == (3,)


def test_a_damaged_database_does_not_spoil_the_one_that_is_put_in_its_place(
    sqlite: Place, tmp_path: Path
) -> None:
    """Its log, were it left there, would be taken for that of the new one."""
    sqlite.done("backup", tmp_path / "backup")
    before = sqlite.run(read_all)
    with sqlite.live() as call:
        call(lambda tasks, *_: tasks.create(make_task(name="only in the log")))
        log = (sqlite.folder / "tesp.sqlite3-wal").read_bytes()
    (sqlite.folder / "tesp.sqlite3").write_bytes(b"no database at all" * 1000)
    (sqlite.folder / "tesp.sqlite3-wal").write_bytes(log)
    assert "not whole" in failed(sqlite, "restore", tmp_path / "backup")
    sqlite.done("restore", tmp_path / "backup", "--force")
    assert sqlite.run(read_all) == before
    assert sqlite.check()["faults"] == []


def test_a_backup_of_a_newer_tesp_is_refused(
    source: Place, another: MakePlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = another()
    for what, said in (("schema", "schema 99, but this tesp knows only"), ("format", "has format 99")):
        file = tmp_path / what
        with file.open("wb") as opened:
            with monkeypatch.context() as patched:
                if what == "format":
                    patched.setattr(backup_file, "FORMAT", 99)
                kind = "sqlite" if source.mongod is None else "mongodb"
                writer = BackupWriter(opened, {"store": kind, "schema": 99 if what == "schema" else 1})
            writer.finish({})
        assert said in failed(other, "restore", file)
        assert said in failed(source, "restore", file, "--force")
    assert source.check()["tasks"] == {"COMPLETE": 1, "QUEUED": 1}
    assert not list(source.folder.glob("before-restore-*"))


def test_a_backup_of_the_other_kind_is_refused(source: Place, tmp_path: Path) -> None:
    other = {"sqlite": "mongodb", "mongodb": "sqlite"}["sqlite" if source.mongod is None else "mongodb"]
    with (tmp_path / "backup").open("wb") as opened:
        BackupWriter(opened, {"store": other, "schema": 1}).finish({})
    assert f"of {other}, but store.url names" in failed(source, "restore", tmp_path / "backup", "--force")


def test_nothing_is_restored_or_upgraded_beneath_a_server(place: Place, tmp_path: Path) -> None:
    place.done("backup", tmp_path / "backup")
    place.set_schema(newest(place) - 1)
    if place.mongod is None:
        lock = FolderLock(place.folder)
        lock.acquire()
        said = "in use by another tesp server"
    else:
        with place.client() as client:
            tasks = client[place.database].tasks
            change = {"claim": {"owner": "host:1:ab"}, "free_at": 2**53}
            tasks.update_one({"live": True}, {"$set": change})
        said = "host:1:ab. Stop all of them"
    assert said in failed(place, "restore", tmp_path / "backup", "--force")
    assert said in failed(place, "upgrade")
    assert place.check()["standing"] == "older"
    assert place.check()["tasks"] == {"COMPLETE": 1, "QUEUED": 1}
    if place.mongod is None:
        lock.release()


@pytest.mark.services
def test_a_restore_into_mongodb_wants_a_word_of_its_operator(mongo: Place, tmp_path: Path) -> None:
    mongo.done("backup", tmp_path / "backup")
    result = mongo.tesp("restore", tmp_path / "backup", "--force", yes=False)
    assert result.exit_code == 1 and "--yes" in result.stderr
    assert mongo.check()["tasks"] == {"COMPLETE": 1, "QUEUED": 1}


@pytest.mark.services
def test_a_database_of_something_else_stays(mongo: Place, tmp_path: Path) -> None:
    mongo.done("backup", tmp_path / "backup")
    with mongo.client() as client:
        client[mongo.database].meta.delete_many({})
    assert "not TESP's" in failed(mongo, "restore", tmp_path / "backup", "--force")
    assert "not TESP's" in mongo.check()["faults"][0]
    with mongo.client() as client:
        assert client[mongo.database].tasks.count_documents({}) == 2


@pytest.mark.services
def test_a_restore_that_was_broken_off_is_no_database(
    mongo: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mongo.done("backup", tmp_path / "backup")
    before = mongo.run(read_all)
    data = BackupReader.data
    read: list[str] = []

    def broken(backup: BackupReader) -> Iterator[tuple[str, bytes]]:
        for part, piece in data(backup):
            read.append(part)
            if part == "log_chunks" and read.count("tasks") == 3:  # twice it is only looked at
                raise OperationFailure("gone", 1)
            yield part, piece

    with monkeypatch.context() as patched:
        patched.setattr(BackupReader, "data", broken)
        assert "gone" in failed(mongo, "restore", tmp_path / "backup", "--force")
    with pytest.raises(StoreError, match="half restored"):
        mongo.run(read_all)
    assert mongo.check()["faults"] == ["a restore was broken off"]
    for command in (("upgrade",), ("backup", tmp_path / "other")):
        assert "half restored" in failed(mongo, *command)
    assert "a restore that was broken off" in failed(mongo, "restore", tmp_path / "backup")
    mongo.done("restore", tmp_path / "backup", "--force")
    assert mongo.run(read_all) == before


def test_another_key_than_that_of_the_backup_is_told(
    place: Place, another: MakePlace, tmp_path: Path
) -> None:
    place.more = {"TESP_API_SECRET_KEY": "a key of the settings, long enough"}
    place.done("backup", tmp_path / "backup")
    same, other = another(), another()
    same.more = place.more
    result = same.tesp("restore", tmp_path / "backup")
    assert (result.exit_code, result.stderr) == (0, "")
    assert not (same.folder / "secret.key").exists()  # that of the data folder was not in use
    result = other.tesp("restore", tmp_path / "backup")
    assert result.exit_code == 0 and "not that of the backup" in result.stderr
    with gzip.open(tmp_path / "backup") as opened:
        assert b"long enough" not in opened.read()


def test_what_was_done_is_in_the_audit_log(place: Place, tmp_path: Path) -> None:
    place.done("backup", tmp_path / "backup")
    failed(place, "restore", tmp_path / "backup")
    lines = [json.loads(line) for line in (place.folder / "audit.log").read_text().splitlines()]
    assert [(line["action"], line["outcome"]) for line in lines] == [
        ("back up the database", "done"),
        ("restore the database", "refused"),
    ]
    assert lines[0]["file"] == str(tmp_path / "backup") and lines[0]["who"].startswith("operator ")


def test_what_root_restores_belongs_to_whose_folder_it_is(sqlite: Place, tmp_path: Path) -> None:
    """Else the server, which is another user, could not open its own database."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    sqlite.write_key("ab")
    sqlite.done("backup", tmp_path / "backup")
    other = Place(tmp_path / "other", None)
    other.folder.mkdir(mode=0o700)
    os.chown(other.folder, 1234, 1234)
    other.done("restore", tmp_path / "backup")
    assert {path.stat().st_uid for path in other.folder.iterdir()} == {1234}


# -- upgrade


def test_an_upgrade_of_the_present_schema_does_nothing(source: Place) -> None:
    names = source.files()
    assert "nothing to do" in source.done("upgrade")
    assert source.files() == names


def test_an_upgrade_makes_what_is_missing_in_mongodb(mongo: Place) -> None:
    mongo.drop_index()
    mongo.done("upgrade")
    assert mongo.check()["faults"] == []


def test_there_is_nothing_to_upgrade_or_to_back_up(another: MakePlace, tmp_path: Path) -> None:
    place = another()
    for command in (("upgrade",), ("backup", tmp_path / "b")):
        assert "yet: the first start makes it" in failed(place, *command)


# -- what must not be forgotten


def test_every_collection_is_in_a_backup() -> None:
    use = re.compile(r"(?:\bdb|\bself\._db|_client\[self\._database\])\.([a-z_]+)\b(?!\()")
    named = {name for file in STORE.glob("mongo*.py") for name in use.findall(file.read_text())}
    assert named - {"name"} == set(mongo_schema.COLLECTIONS)


@pytest.mark.services
def test_a_filled_database_has_no_other_collection(mongo: Place) -> None:
    with mongo.client() as client:
        there = set(client[mongo.database].list_collection_names())
    assert there <= set(mongo_schema.COLLECTIONS)
    assert {"tasks", "log_chunks", "runs", "run_steps", "run_logs", "users", "meta"} <= there


def test_nothing_but_a_backup_is_replaced(sqlite: Place, tmp_path: Path) -> None:
    before = sqlite.check()
    for name in ("tesp.sqlite3", "accounts.sqlite3", "secret.key"):
        refused = sqlite.tesp("backup", sqlite.folder / name, "--force")
        assert (refused.exit_code, "of the server's own" in refused.stderr) == (1, True)
    letter = tmp_path / "letter"
    letter.write_text("dear reader")
    refused = sqlite.tesp("backup", letter, "--force")
    assert (refused.exit_code, "is no backup" in refused.stderr) == (1, True)
    link = tmp_path / "link"
    link.symlink_to(letter)
    assert "is no plain file" in sqlite.tesp("backup", link, "--force").stderr
    assert letter.read_text() == "dear reader"
    assert sqlite.check() == before


def test_what_is_half_restored_is_no_database(
    sqlite: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite.done("backup", tmp_path / "b")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tesp_api.cli.backups.put_key_back", fail)
        assert sqlite.tesp("restore", tmp_path / "b", "--force").exit_code == 1
    with pytest.raises(StoreError, match="half restored"):
        sqlite.run(read_all)
    assert "half restored" in sqlite.check()["faults"][0]
    for command in (("upgrade",), ("backup", tmp_path / "c")):
        assert "half restored" in sqlite.tesp(*command).stderr
    sqlite.done("restore", tmp_path / "b", "--force")
    sqlite.run(read_all)


def test_a_file_that_was_cut_off_is_a_fault_and_its_users_are_kept(sqlite: Place, tmp_path: Path) -> None:
    sqlite.done("backup", tmp_path / "b")
    (sqlite.folder / "tesp.sqlite3").write_bytes(b"")
    found = sqlite.check()
    assert not found["usable"] and "has no schema" in found["faults"][0]
    assert found["users"] == 1
    assert sqlite.tesp("restore", tmp_path / "b").exit_code == 1


def test_a_link_of_another_s_is_not_followed(sqlite: Place, tmp_path: Path) -> None:
    sqlite.done("backup", tmp_path / "b")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    lock = sqlite.folder / "lock"
    lock.unlink()
    lock.symlink_to(victim)
    assert sqlite.tesp("restore", tmp_path / "b", "--force").exit_code == 1
    assert victim.read_text() == "precious"
    lock.unlink()
    (sqlite.folder / "tesp.sqlite3").rename(tmp_path / "elsewhere")
    (sqlite.folder / "tesp.sqlite3").symlink_to(tmp_path / "elsewhere")
    assert "is a link" in sqlite.tesp("restore", tmp_path / "b", "--force").stderr


def test_what_a_killed_backup_left_is_removed(sqlite: Place, tmp_path: Path) -> None:
    left = tmp_path / ".tesp-backup-left"
    left.mkdir()
    (left / "tesp.sqlite3").write_bytes(b"secret")
    sqlite.done("backup", tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".tesp-backup")] == []


def test_a_user_without_a_name_can_do_all_of_it(
    sqlite: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", nobody)
    sqlite.done("backup", tmp_path / "b")


def test_a_mistyped_folder_is_not_made(tmp_path: Path) -> None:
    place = Place(tmp_path / "mistyped", None)
    assert place.tesp("upgrade").exit_code == 1
    assert not place.folder.exists()


def test_a_restore_makes_no_folder_that_was_not_named(
    source: Place, another: MakePlace, tmp_path: Path
) -> None:
    """Else an operator without the server's environment would fill a folder that no server looks at."""
    source.done("backup", tmp_path / "backup")
    other = another()
    refused = other.tesp("restore", tmp_path / "backup", named=False)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert f"there is no data folder {other.folder}" in re.sub(r"\s+", " ", refused.stderr)
    assert not other.folder.exists()
    other.folder.mkdir(mode=0o700)
    restored = other.tesp("restore", tmp_path / "backup", named=False)
    where = "" if other.mongod is None else f"the MongoDB database '{other.database}', with "
    assert f"restored to {where}the data folder {other.folder}, as of" in restored.stdout, restored.output
    assert other.run(read_all) == source.run(read_all)


def test_a_backup_without_a_key_is_told_of(place: Place, tmp_path: Path) -> None:
    found = place.tesp("backup", tmp_path / "backup")
    assert found.exit_code == 0
    assert f"no key in {place.folder / 'secret.key'}" in re.sub(r"\s+", " ", found.stderr)
    place.write_key("ab")
    assert place.tesp("backup", tmp_path / "backup", "--force").stderr == ""
    (place.folder / "secret.key").unlink()
    place.more = {"TESP_API_SECRET_KEY": "a key of the settings, long enough"}
    assert place.tesp("backup", tmp_path / "backup", "--force").stderr == ""


def test_a_failed_write_shows_no_document() -> None:
    failed = {"index": 0, "code": 11000, "errmsg": "E11000 duplicate key error dup key: {x: 1}", "op": "hash"}
    said = str(translated(BulkWriteError({"writeErrors": [failed]})))
    assert said == "MongoDB: E11000 duplicate key error (BulkWriteError)"
