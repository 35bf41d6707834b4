"""The tables of the SQLite store, and how an older database becomes a newer one.

What lists need (`tasks`, `tags`) is apart from what may be large (`requests`, `attempt_logs`,
`log_chunks`), so that a list walks over small rows. Ids sort by age (UUIDv7): newest first is id
descending, and every index that a list uses ends in the id. `tags` repeats the state of its task, and tasks
belong to generations by their age, so that lists by tag and by name need not look further.

Times are integer microseconds since 1970 UTC. What clients' texts are compared by (names, tags) is kept
as UTF-8 bytes: exact, case-sensitive, and free of what TEXT cannot hold.
"""

import sqlite3
from pathlib import Path

from tesp_api.errors import StoreError
from tesp_api.store import sqlite_counts, sqlite_notices, sqlite_usage
from tesp_api.tes.states import FINAL

BUSY_TIMEOUT_S = 5.0
_CACHE_KIB = 16 * 1024
_CHECKPOINT_PAGES = 4000
_WAL_LIMIT_BYTES = 64 * 1024 * 1024

GENERATION_TASKS = 4096

# The runner's questions; a query uses a partial index only if it repeats its condition to the letter.
WAITING = "live = 1 AND claim_owner IS NULL AND job_id IS NULL AND state = 'QUEUED'"
ADOPTABLE = "live = 1 AND claim_owner IS NULL AND (job_id IS NOT NULL OR state <> 'QUEUED')"
CLAIMED = "claim_owner IS NOT NULL"
RETIRED = "live = 0 AND ended_at IS NOT NULL"
RUN_TO_DO = "ended_at IS NULL OR doomed = 1"
RUN_ENDED = "ended_at IS NOT NULL AND doomed = 0"

_VERSION_1 = (
    """CREATE TABLE tasks (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        name BLOB NOT NULL,
        state TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        attempt INTEGER NOT NULL DEFAULT 0,
        live INTEGER NOT NULL DEFAULT 1,
        destination TEXT,
        job_id TEXT,
        claim_owner TEXT,
        claim_epoch INTEGER NOT NULL DEFAULT 0,
        claim_expires_at INTEGER
    ) WITHOUT ROWID""",
    "CREATE INDEX tasks_by_state ON tasks (state, id)",
    "CREATE INDEX tasks_by_owner ON tasks (owner, id)",
    "CREATE INDEX tasks_by_owner_state ON tasks (owner, state, id)",
    "CREATE INDEX tasks_by_name ON tasks (name, id)",
    f"CREATE INDEX tasks_waiting ON tasks (id) WHERE {WAITING}",
    f"CREATE INDEX tasks_adoptable ON tasks (id) WHERE {ADOPTABLE}",
    f"CREATE INDEX tasks_by_claim ON tasks (claim_owner) WHERE {CLAIMED}",
    f"CREATE INDEX tasks_by_lease ON tasks (claim_expires_at) WHERE {CLAIMED}",
    """CREATE TABLE tags (
        key BLOB NOT NULL,
        value BLOB NOT NULL,
        task_id TEXT NOT NULL,
        PRIMARY KEY (key, value, task_id)
    ) WITHOUT ROWID""",
    "CREATE INDEX tags_by_key ON tags (key, task_id)",
    "CREATE TABLE requests (task_id TEXT PRIMARY KEY, document TEXT NOT NULL, warnings TEXT NOT NULL)",
    """CREATE TABLE attempt_logs (
        task_id TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        document TEXT NOT NULL,
        PRIMARY KEY (task_id, attempt)
    )""",
    """CREATE TABLE log_chunks (
        task_id TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        executor INTEGER NOT NULL,
        stream TEXT NOT NULL,
        offset INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (task_id, attempt, executor, stream, offset)
    )""",
    """CREATE TABLE history (
        task_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        at INTEGER NOT NULL,
        state TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (task_id, number)
    ) WITHOUT ROWID""",
    "CREATE TABLE checks (id INTEGER PRIMARY KEY, checked_at INTEGER NOT NULL)",
)

_VERSION_2 = (
    "ALTER TABLE tasks ADD COLUMN ended_at INTEGER",
    f"""UPDATE tasks SET ended_at = (
        SELECT min(at) FROM history WHERE task_id = tasks.id AND history.state = tasks.state
    ) WHERE state IN ({",".join(f"'{state}'" for state in sorted(FINAL))})""",
    f"CREATE INDEX tasks_retired ON tasks (ended_at) WHERE {RETIRED}",
    """CREATE TABLE once_keys (
        owner TEXT NOT NULL,
        key BLOB NOT NULL,
        body_digest BLOB NOT NULL,
        task_id TEXT NOT NULL,
        PRIMARY KEY (owner, key)
    ) WITHOUT ROWID""",
    "CREATE INDEX once_keys_by_task ON once_keys (task_id)",
    # A list by tag shows states: with the state beside the tag it needs no look at the tasks themselves.
    "ALTER TABLE tags ADD COLUMN state TEXT NOT NULL DEFAULT 'QUEUED'",
    "UPDATE tags SET state = (SELECT state FROM tasks WHERE id = task_id)",
    # Runs of tasks of one age: all ids from `first_id` up to the next one's. See `sqlite_walks`.
    "CREATE TABLE generations (number INTEGER PRIMARY KEY, first_id TEXT NOT NULL, tasks INTEGER NOT NULL)",
    "ALTER TABLE tasks ADD COLUMN generation INTEGER NOT NULL DEFAULT 0",
    f"""UPDATE tasks SET generation = numbered.generation FROM (
        SELECT id, (row_number() OVER (ORDER BY id) - 1) / {GENERATION_TASKS} AS generation FROM tasks
    ) AS numbered WHERE numbered.id = tasks.id""",
    "INSERT INTO generations SELECT generation, min(id), count(*) FROM tasks GROUP BY generation",
    "INSERT OR IGNORE INTO generations VALUES (0, '', 0)",
    "UPDATE generations SET first_id = '' WHERE number = 0",
    "CREATE UNIQUE INDEX generations_by_id ON generations (first_id)",
    "CREATE INDEX tasks_by_generation ON tasks (generation, name)",
)

_VERSION_3 = (
    # Of the few tasks that have some: `requests` has long rows, which removing it from would write anew.
    "CREATE TABLE sealed_logins (task_id TEXT PRIMARY KEY, sealed TEXT NOT NULL)",
)

_VERSION_4 = (
    """CREATE TABLE reports (
        job_id TEXT NOT NULL,
        name TEXT NOT NULL,
        put_at INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (job_id, name)
    )""",
    "CREATE INDEX reports_by_age ON reports (put_at)",
)

_VERSION_5 = (
    "ALTER TABLE tasks ADD COLUMN job_server TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE tasks ADD COLUMN job_asks INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE tasks ADD COLUMN permit_worker TEXT",
    "ALTER TABLE tasks ADD COLUMN permit_step TEXT",
)

_VERSION_6 = ("ALTER TABLE tasks ADD COLUMN groups_json TEXT NOT NULL DEFAULT '[]'",)

_VERSION_7 = (
    # A queue for each owner, so that they can take turns.
    "DROP INDEX tasks_waiting",
    f"CREATE INDEX tasks_waiting_by_owner ON tasks (owner, id) WHERE {WAITING}",
)

_VERSION_8 = sqlite_usage.STATEMENTS

_VERSION_9 = (
    # Workflow runs: see `sqlite_runs`. What lists need is apart from what may be large here, too.
    """CREATE TABLE runs (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        started_at INTEGER,
        ended_at INTEGER,
        engine TEXT NOT NULL,
        work_url TEXT NOT NULL,
        resumes TEXT NOT NULL,
        groups_json TEXT NOT NULL,
        tags_json TEXT NOT NULL,
        exit_code INTEGER,
        doomed INTEGER NOT NULL DEFAULT 0,
        claim_owner TEXT,
        claim_epoch INTEGER NOT NULL DEFAULT 0,
        claim_expires_at INTEGER
    ) WITHOUT ROWID""",
    "CREATE INDEX runs_by_owner ON runs (owner, id) WHERE doomed = 0",
    "CREATE INDEX runs_by_state ON runs (state, owner) WHERE doomed = 0",
    f"CREATE INDEX runs_to_do ON runs (id) WHERE {RUN_TO_DO}",
    f"CREATE INDEX runs_by_claim ON runs (claim_owner) WHERE {CLAIMED}",
    f"CREATE INDEX runs_ended ON runs (ended_at) WHERE {RUN_ENDED}",
    """CREATE TABLE run_documents (
        run_id TEXT PRIMARY KEY,
        request TEXT NOT NULL,
        params TEXT NOT NULL,
        outputs TEXT NOT NULL
    )""",
    """CREATE TABLE run_notes (
        run_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        line TEXT NOT NULL,
        PRIMARY KEY (run_id, number)
    ) WITHOUT ROWID""",
    """CREATE TABLE run_groups (
        name BLOB NOT NULL,
        run_id TEXT NOT NULL,
        PRIMARY KEY (name, run_id)
    ) WITHOUT ROWID""",
    "CREATE INDEX run_groups_by_run ON run_groups (run_id)",
    """CREATE TABLE run_uses (
        used TEXT NOT NULL,
        run_id TEXT NOT NULL,
        PRIMARY KEY (used, run_id)
    ) WITHOUT ROWID""",
    "CREATE INDEX run_uses_by_run ON run_uses (run_id)",
    """CREATE TABLE run_steps (
        run_id TEXT NOT NULL,
        id TEXT NOT NULL,
        key TEXT NOT NULL,
        name TEXT NOT NULL,
        task_id TEXT NOT NULL,
        reused_from TEXT NOT NULL,
        PRIMARY KEY (run_id, id)
    ) WITHOUT ROWID""",
    "CREATE UNIQUE INDEX run_steps_by_key ON run_steps (run_id, key)",
    "CREATE INDEX run_steps_by_task ON run_steps (run_id, task_id)",
    """CREATE TABLE run_log_chunks (
        run_id TEXT NOT NULL,
        name TEXT NOT NULL,
        offset INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (run_id, name, offset)
    )""",
)

_VERSION_10 = (
    """CREATE TABLE run_once_keys (
        owner TEXT NOT NULL,
        key BLOB NOT NULL,
        body_digest BLOB NOT NULL,
        run_id TEXT NOT NULL,
        PRIMARY KEY (owner, key)
    ) WITHOUT ROWID""",
    "CREATE INDEX run_once_keys_by_run ON run_once_keys (run_id)",
)

_VERSION_11 = (
    # `destination` is that of the job, which is forgotten when nothing is left to do; this one stays.
    "ALTER TABLE tasks ADD COLUMN went_to TEXT",
    "UPDATE tasks SET went_to = destination WHERE destination IS NOT NULL",
    "CREATE INDEX tasks_by_destination ON tasks (went_to, id) WHERE went_to IS NOT NULL",
    *sqlite_counts.STATEMENTS,
)

_VERSION_12 = sqlite_notices.STATEMENTS

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    _VERSION_1,
    _VERSION_2,
    _VERSION_3,
    _VERSION_4,
    _VERSION_5,
    _VERSION_6,
    _VERSION_7,
    _VERSION_8,
    _VERSION_9,
    _VERSION_10,
    _VERSION_11,
    _VERSION_12,
)
"""The steps from an empty database to the present schema: the step at index n leads to version n + 1."""


def connect(database: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection that commits only when told to, durably, and may be used from any one thread at a time."""
    connection = sqlite3.connect(
        database, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
    if read_only:
        connection.execute("PRAGMA query_only = ON")
    return connection


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to the present schema, each step in a transaction of its own.

    Raises:
        StoreError: a newer TESP made the database.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise StoreError(
            f"the database has schema {version}, but this tesp knows only up to {len(MIGRATIONS)}: "
            "start the newer tesp that made it, or choose another folder with --data"
        )
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
