"""Writes finished tasks straight into a MongoDB: the documents that the store itself would write.

`bench.api` reads some of them back through the store before it measures.
"""

from typing import Any

from bson.int64 import Int64
from pymongo import MongoClient

from bench.api_data import Stored, stored_task
from tesp_api.store.mongo_documents import new_document, to_json, to_micros
from tesp_api.store.mongo_logs import LogKey
from tesp_api.store.mongo_schema import TASK_INDEXES

_BATCH = 2000


def load(url: str, database: str, total: int) -> None:
    """Fill the empty database, which the store has prepared, with `total` finished tasks."""
    with MongoClient[dict[str, Any]](url) as client:
        db = client[database]
        db.tasks.drop_indexes()  # making them at the end is faster, and gives the same
        for start in range(0, total, _BATCH):
            stored = [stored_task(number, total) for number in range(start, min(start + _BATCH, total))]
            db.tasks.insert_many([_document(one) for one in stored], ordered=False)
            db.log_chunks.insert_many([_chunk(one) for one in stored], ordered=False)
        db.tasks.create_indexes(list(TASK_INDEXES))


def _document(stored: Stored) -> dict[str, Any]:
    task = stored.task
    document = new_document(task, None)
    for left_at_the_end in ("begun", "free_at"):
        del document[left_at_the_end]
    return document | {
        "state": task.state.value,
        "attempt": task.attempt,
        "live": False,
        "epoch": 1,
        "ended_at": to_micros(stored.history[-1].at),
        "log_bytes": Int64(len(stored.stdout)),
        "logs": [{"attempt": 1, "document": to_json(log)} for log in task.logs],
        "history": [
            {
                "at": to_micros(entry.at),
                "state": entry.state.value,
                "attempt": entry.attempt,
                "reason": entry.reason,
            }
            for entry in stored.history
        ],
    }


def _chunk(stored: Stored) -> dict[str, Any]:
    size = len(stored.stdout)
    return {
        "_id": LogKey(stored.task.id, 1, 0, "stdout").at(0),
        "data": stored.stdout,
        "size": size,
        "end": size,
        "epoch": 1,
    }
