"""The outbox in the database of the MongoDB store (`Outbox`); `mongo_notices` says how notices come there."""

from collections.abc import Mapping

from pymongo import ReturnDocument

from tesp_api.store.mongo import MongoTaskStore
from tesp_api.store.mongo_documents import Document, exact, printable
from tesp_api.store.mongo_notices import inexact, move_on, to_delivery, to_notice
from tesp_api.store.outbox import Bounds, Delivery, Notice, Outcome

_WAITS: Document = {"waiting": True}
_WAITING = "waiting"
_OF_HEADS = ("number", "due_at")


class MongoOutbox:
    """The `Outbox` in the database of `tasks`, which opens and closes it."""

    def __init__(self, tasks: MongoTaskStore) -> None:
        self._tasks = tasks

    async def receivers(self) -> list[str]:
        async with self._tasks.use() as opened:
            await move_on(opened.db)
            found = await opened.db.notices.distinct("receiver", _WAITS)
        return [inexact(name) for name in found]

    async def claim(self, receiver: str, *, limit: int, lease_s: float) -> list[Notice]:
        clock = self._tasks.clock
        claimed: list[Notice] = []
        async with self._tasks.use() as opened:
            notices = opened.db.notices
            steps: list[Document] = [
                {"$match": _WAITS | {"receiver": exact(receiver)}},
                {"$sort": {"subject": 1, "number": 1}},
                {"$group": {"_id": "$subject"} | {one: {"$first": f"${one}"} for one in _OF_HEADS}},
                {"$match": clock.reached("due_at")},
                {"$sort": {"_id": 1}},
                {"$limit": limit},
            ]
            heads = await (await notices.aggregate(steps, hint=_WAITING)).to_list()
            for head in heads:
                one = _WAITS | {"receiver": exact(receiver), "subject": head["_id"], "number": head["number"]}
                change = {"due_at": clock.after(lease_s), "tries": {"$add": ["$tries", 1]}}
                found = await notices.find_one_and_update(
                    one | clock.reached("due_at"), [{"$set": change}], return_document=ReturnDocument.AFTER
                )
                if found is not None:  # else another one was faster
                    claimed.append(to_notice(found))
        return claimed

    async def settle(self, notice: Notice, outcome: Outcome) -> None:
        clock = self._tasks.clock
        waits = outcome.fate == "waiting"
        change: Document = {"fate": outcome.fate, "said": {"$literal": printable(outcome.said)}}
        change |= {"due_at": clock.after(outcome.after_s)} if waits else _done(clock.now())
        one = _WAITS | {"_id": notice.key, "tries": notice.tries}
        async with self._tasks.use() as opened:
            await opened.db.notices.update_one(one, [{"$set": change}])

    async def sweep(self, bounds: Bounds) -> int:
        clock = self._tasks.clock
        given_up = [{"$set": {"fate": "given_up", **_done(clock.now())}}]
        overdue = _WAITS | clock.reached("at", bounds.give_up_s)
        count = 0
        async with self._tasks.use() as opened:
            await move_on(opened.db)
            notices = opened.db.notices
            old = {"done_at": {"$gt": 0}} | clock.reached("done_at", bounds.kept_s)
            await notices.delete_many(old)
            count += (await notices.update_many(overdue, given_up)).modified_count
            for receiver, waiting in (await self.waiting()).items():
                if waiting > bounds.waiting_max:
                    oldest = notices.find(_WAITS | {"receiver": exact(receiver)}, {"_id": 1}).sort("at", 1)
                    found = await oldest.limit(waiting - bounds.waiting_max).to_list()
                    these = {"_id": {"$in": [one["_id"] for one in found]}}
                    count += (await notices.update_many(_WAITS | these, given_up)).modified_count
        return count

    async def deliveries(self, subject: str) -> list[Delivery]:
        async with self._tasks.use() as opened:
            await move_on(opened.db, [subject])
            found = opened.db.notices.find({"subject": subject}).sort([("number", 1), ("_id", 1)])
            return [to_delivery(document) for document in await found.to_list()]

    async def waiting(self) -> Mapping[str, int]:
        steps: list[Document] = [{"$match": _WAITS}, {"$sortByCount": "$receiver"}]
        async with self._tasks.use() as opened:
            counted = await (await opened.db.notices.aggregate(steps, hint=_WAITING)).to_list()
        return {inexact(one["_id"]): int(one["count"]) for one in counted}


def _done(now: object) -> Document:
    """What a notice that does not wait any more is like; what it would have told is not needed."""
    return {"waiting": False, "done_at": now, "about": ""}
