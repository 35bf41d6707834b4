"""What sites have sent by themselves, in MongoDB: one document for each file.

    _id      JOB/NAME; a job's id has no slash
    put_at   a BSON time: the database itself removes what is older than `REPORTS_STAY`; earlier than it was,
             by what it is to stay less
    data

The end of a task and the arrival of a report are two writes: one that comes just after the end stays so long.
"""

from datetime import timedelta

from bson.binary import Binary

from tesp_api.store.base import REPORTS_STAY
from tesp_api.store.mongo_documents import Collection


async def put(reports: Collection, job_id: str, name: str, data: bytes, stay: timedelta) -> None:
    """Keep the file for so long, in place of an earlier one with that name."""
    less_ms = (REPORTS_STAY - stay) // timedelta(milliseconds=1)
    content = {"put_at": {"$subtract": ["$$NOW", less_ms]}, "data": {"$literal": Binary(data)}}
    await reports.update_one({"_id": f"{job_id}/{name}"}, [{"$set": content}], upsert=True)


async def read(reports: Collection, job_id: str, name: str) -> bytes | None:
    """The file; None if there is none."""
    found = await reports.find_one({"_id": f"{job_id}/{name}"}, {"data": 1})
    return None if found is None else bytes(found["data"])


async def drop(reports: Collection, job_id: str, name: str | None) -> None:
    """Forget one file of a job, or all."""
    if name is not None:
        await reports.delete_one({"_id": f"{job_id}/{name}"})
        return
    await reports.delete_many({"_id": {"$gte": f"{job_id}/", "$lt": f"{job_id}0"}})  # "0" comes after "/"
