"""What users have in SQLite: counted by triggers, in the same transaction as what is counted.

The counts of all users together are a row of their own, under a name that no owner has.
"""

import sqlite3

from tesp_api.store.usage import Usage

ALL = "*"

STATEMENTS = (
    """CREATE TABLE usage (
        owner TEXT PRIMARY KEY,
        live_tasks INTEGER NOT NULL,
        stored_tasks INTEGER NOT NULL,
        stored_log_bytes INTEGER NOT NULL
    ) WITHOUT ROWID""",
    "INSERT INTO usage SELECT owner, sum(ended_at IS NULL), count(*), 0 FROM tasks GROUP BY owner",
    """UPDATE usage SET stored_log_bytes = of_owner.bytes FROM (
        SELECT t.owner, sum(length(c.data)) AS bytes FROM log_chunks AS c JOIN tasks AS t ON t.id = c.task_id
        GROUP BY t.owner
    ) AS of_owner WHERE of_owner.owner = usage.owner""",
    """INSERT INTO usage SELECT '*', coalesce(sum(live_tasks), 0), coalesce(sum(stored_tasks), 0),
        coalesce(sum(stored_log_bytes), 0) FROM usage""",
    """CREATE TRIGGER usage_of_created AFTER INSERT ON tasks BEGIN
        INSERT INTO usage VALUES (NEW.owner, NEW.ended_at IS NULL, 1, 0), ('*', NEW.ended_at IS NULL, 1, 0)
            ON CONFLICT (owner) DO UPDATE SET live_tasks = live_tasks + excluded.live_tasks,
            stored_tasks = stored_tasks + 1;
    END""",
    """CREATE TRIGGER usage_of_ended AFTER UPDATE OF ended_at ON tasks
    WHEN (OLD.ended_at IS NULL) <> (NEW.ended_at IS NULL) BEGIN
        UPDATE usage SET live_tasks = live_tasks + (NEW.ended_at IS NULL) - (OLD.ended_at IS NULL)
            WHERE owner IN ('*', NEW.owner);
    END""",
    """CREATE TRIGGER usage_of_removed AFTER DELETE ON tasks BEGIN
        UPDATE usage SET live_tasks = live_tasks - (OLD.ended_at IS NULL), stored_tasks = stored_tasks - 1
            WHERE owner IN ('*', OLD.owner);
    END""",
    """CREATE TRIGGER usage_of_written AFTER INSERT ON log_chunks BEGIN
        UPDATE usage SET stored_log_bytes = stored_log_bytes + length(NEW.data)
            WHERE owner IN ('*', (SELECT owner FROM tasks WHERE id = NEW.task_id));
    END""",
    """CREATE TRIGGER usage_of_rewritten AFTER UPDATE OF data ON log_chunks BEGIN
        UPDATE usage SET stored_log_bytes = stored_log_bytes + length(NEW.data) - length(OLD.data)
            WHERE owner IN ('*', (SELECT owner FROM tasks WHERE id = NEW.task_id));
    END""",
    """CREATE TRIGGER usage_of_dropped AFTER DELETE ON log_chunks BEGIN
        UPDATE usage SET stored_log_bytes = stored_log_bytes - length(OLD.data)
            WHERE owner IN ('*', (SELECT owner FROM tasks WHERE id = OLD.task_id));
    END""",
)
"""The migration that begins to count."""


def read_usage(connection: sqlite3.Connection, owner: str | None) -> Usage:
    """What an owner has; None asks for all of them together."""
    row = connection.execute(
        "SELECT live_tasks, stored_tasks, stored_log_bytes FROM usage WHERE owner = ?",
        (ALL if owner is None else owner,),
    ).fetchone()
    return Usage(*row) if row else Usage()
