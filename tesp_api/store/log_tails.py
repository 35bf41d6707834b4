"""The ends of executors' outputs, as FULL view shows them."""

import asyncio

from tesp_api.store.base import Stream, Task, TaskStore
from tesp_api.tes.views import StreamId, Tails, decode_tail, ended_streams

_ANSWER_BUDGET_BYTES = 32 * 1024**2
_LEAST_TAIL_BYTES = 256


async def read_tails(store: TaskStore, tasks: list[Task], tail_bytes: int) -> list[Tails]:
    """For each task the last `tail_bytes` of each stream that FULL shows of it.

    Less, where there are so many streams that they would fill the memory.
    """
    streams = sum(len(ended_streams(task)) for task in tasks)
    share = max(_LEAST_TAIL_BYTES, _ANSWER_BUDGET_BYTES // max(streams, 1))
    return [await _read_tails(store, task, min(tail_bytes, share)) for task in tasks]


async def _read_tails(store: TaskStore, task: Task, tail_bytes: int) -> Tails:
    names = ended_streams(task)
    texts = await asyncio.gather(*(_read_tail(store, task.id, name, tail_bytes) for name in names))
    return dict(zip(names, texts, strict=True))


async def _read_tail(store: TaskStore, task_id: str, name: StreamId, tail_bytes: int) -> str:
    stream: Stream = "stdout" if name.stream == "stdout" else "stderr"
    part = await store.read_log(
        task_id, name.attempt, name.executor, stream, offset=-tail_bytes, limit=tail_bytes
    )
    return decode_tail(part.data, cut=part.offset > 0)
