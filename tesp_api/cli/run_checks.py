"""What `tesp doctor` says of workflow runs that wait for what this server does not have."""

import asyncio
from collections.abc import Iterator

from tesp_api.app import build_run_store, build_store
from tesp_api.cli.check import Check
from tesp_api.errors import StoreError
from tesp_api.settings import Settings
from tesp_api.storage.work_places import base_url
from tesp_api.wes.waiting_runs import LOOKED_AT_MAX, left_runs

_LABEL = "workflow runs"


def run_checks(settings: Settings) -> Iterator[Check]:
    """Whether any must wait; nothing where the store cannot be opened, of which another check tells."""
    if settings.store.kind == "sqlite" and not settings.data_dir.exists():
        return
    try:
        waiting = asyncio.run(_waiting(settings))
    except (StoreError, OSError):
        return
    if not waiting:
        yield Check(_LABEL, "ok", "none waits for another wes.work_url")
        return
    found = f"{len(waiting)} are left by this server, such as: {next(iter(waiting.values()))}"
    mend = "set wes.work_url (or data_dir) as it was, or start the server that has it so; or cancel them"
    yield Check(_LABEL, "warn", found, mend)


async def _waiting(settings: Settings) -> dict[str, str]:
    store = build_store(settings)
    await store.open()
    try:
        runs = await build_run_store(settings, store).list_to_do(limit=LOOKED_AT_MAX)
    finally:
        await store.aclose()
    return dict(left_runs(runs, base_url(settings), {}))
