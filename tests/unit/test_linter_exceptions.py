"""Every exception to the security rules of the linter has its reason, and those of SQL are looked at here."""

import ast
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tesp_api.errors import TespError
from tesp_api.settings import Settings
from tesp_api.store.accounts import User
from tesp_api.store.base import Claim, OnceKey, TaskQuery
from tesp_api.store.runs import RunQuery, StepRecord
from tesp_api.store.sqlite import SqliteTaskStore
from tesp_api.store.sqlite_accounts import SqliteAccounts
from tesp_api.store.sqlite_runs import SqliteRunStore
from tesp_api.tes.ids import new_task_id
from tesp_api.tes.times import now
from tests.factories import make_run, make_task

REPOSITORY = Path(__file__).parents[2]
STORE = REPOSITORY / "tesp_api/store"

_NOQA = re.compile(r"# noqa: [A-Z0-9, ]*\bS\d{3}\b(?P<reason>.*)")
_SQL = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|FROM|WHERE|PRAGMA)\b")
_CONSTANT = re.compile(r"_?[A-Z][A-Z_]*|_matches\('[a-z0-9()*]+'\)")

PUT_INTO_SQL = {
    "sqlite_claims.py": {"whose"},  # one of two constants
    # of the names above it; the name of a state; a part with a column
    "sqlite_removal.py": {"table", "State.QUEUED", "_USER.format(task_id='tasks.id')"},
    "sqlite_run_claims.py": {"whose"},  # one of two constants
    "sqlite_run_rows.py": {"column", "marks"},  # "key" or "task_id"; question marks
    "sqlite_runs.py": {"table"},  # of the names above it
    "sqlite_rows.py": {"marks"},  # question marks, as many as there are ids
    "sqlite_schema.py": {"','.join((f\"'{state}'\" for state in sorted(FINAL)))", "number"},
    "sqlite_upkeep.py": {"check", "table"},  # names that stand there
    "sqlite_walks.py": {  # of filters, which `sqlite_filters` makes of constants
        *("self.id_column", "self.table", "columns", "join", "select", "what", "sorted_ids", "conditions"),
        "' AND '.join((sql for sql, _ in conditions))",
    },
}
"""What is no constant and stands in a statement nevertheless."""


def test_each_has_its_reason() -> None:
    missing = [
        f"{file.relative_to(REPOSITORY)}:{number}"
        for folder in ("tesp_api", "bench", "tests")
        for file in (REPOSITORY / folder).rglob("*.py")
        for number, line in enumerate(file.read_text().splitlines(), start=1)
        if (found := _NOQA.search(line)) and not found["reason"].strip(" -().")
    ]
    assert missing == []


def put_in(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
            if _SQL.search(text):
                parts = [part for part in node.values if isinstance(part, ast.FormattedValue)]
                yield from (ast.unparse(part.value) for part in parts)


@pytest.mark.parametrize("file", sorted(STORE.glob("sqlite_*.py")), ids=lambda file: file.name)
def test_statements_are_made_of_constants(file: Path) -> None:
    found = {name for name in put_in(file) if not _CONSTANT.fullmatch(name)}
    assert found == PUT_INTO_SQL.get(file.name, set())


MARK = "MARK'\"; DROP TABLE tasks; --"


class Recording(sqlite3.Connection):
    """Remembers the text of every statement."""

    said: list[str] = []  # noqa: RUF012

    def execute(self, sql: str, *more: Any) -> sqlite3.Cursor:
        self.said.append(sql)
        return super().execute(sql, *more)

    def executemany(self, sql: str, *more: Any) -> sqlite3.Cursor:
        self.said.append(sql)
        return super().executemany(sql, *more)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    really = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **named: really(*args, factory=Recording, **named))
    monkeypatch.setattr(Recording, "said", [])
    return Recording.said


async def test_no_text_of_a_request_is_in_a_statement(said: list[str], tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": str(tmp_path)})
    store, accounts = SqliteTaskStore(settings.data_dir), SqliteAccounts(settings.data_dir)
    await store.open()
    await accounts.open()
    task = make_task(name=MARK, tags={MARK: MARK})
    await store.create(task, once=OnceKey(MARK, MARK))
    queries = [
        TaskQuery(page_size=5, name_prefix=MARK, tags=((MARK, MARK), (MARK, "")), owner=MARK, group=MARK),
        TaskQuery(page_size=5, name_prefix=MARK),
        TaskQuery(page_size=5, owner=MARK),
    ]
    for query in queries:
        await store.list_tasks(query)
        await store.list_states(query)
    runs = SqliteRunStore(store)
    run = make_run(id=new_task_id(), owner=MARK, groups=(MARK,), uses=(MARK,), system_logs=(MARK,))
    await runs.create(make_run(id=MARK))
    await runs.create(run)
    for listed in (RunQuery(), RunQuery(owner=MARK), RunQuery(group=MARK, owner=MARK)):
        await runs.list_runs(listed)
    claim = Claim(MARK, MARK, 1, now())
    step = StepRecord(MARK, MARK, MARK, MARK, MARK)
    asked = [
        runs.get(MARK),
        runs.glance(MARK),
        runs.count_live(MARK),
        runs.request_cancel(run.id, MARK),
        runs.doom(MARK),
        runs.read_log(MARK, "stdout", offset=0, limit=9),
        runs.list_steps(MARK, after=MARK, limit=9),
        runs.find_step(MARK, MARK),
        runs.find_step_by_key(MARK, MARK),
        runs.put_step(step, claim=claim),
        runs.claim(MARK, lease_s=1, new_limit=5),
        runs.renew(MARK, [MARK], lease_s=1),
        runs.release(MARK),
        store.get(MARK),
        store.glance(MARK),
        store.get_standing(MARK),
        store.history(MARK),
        store.request_cancel(MARK, MARK),
        store.delete(MARK),
        store.read_log(MARK, 1, 0, "stdout", offset=0, limit=9),
        store.put_report(MARK, MARK, b""),
        store.read_report(MARK, MARK),
        store.drop_reports(MARK, MARK),
        store.permit(MARK, 1, MARK, "start"),
        store.claim(MARK, lease_s=1, new_limit=5),
        store.release(MARK),
        accounts.add_user(User(MARK, now(), MARK, (MARK,))),
        accounts.find_user(MARK),
        accounts.find_token(MARK),
        accounts.change_user(MARK, groups=(MARK,)),
        accounts.remove_user(MARK),
    ]
    for question in asked:
        try:
            await question
        except TespError:
            continue
    await accounts.aclose()
    await store.aclose()
    assert len(said) > 60
    assert not [sql for sql in said if "MARK" in sql]
