"""What `tesp doctor` looks at, one function for each thing."""

import asyncio
import importlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tesp_api.app import build_store, build_transports
from tesp_api.cli.channel_checks import channel_checks, key_checks
from tesp_api.cli.check import Check
from tesp_api.cli.engine_checks import engine_checks
from tesp_api.cli.run_checks import run_checks
from tesp_api.cli.runtimes import mend, probe, run
from tesp_api.cli.secret_checks import login_checks, secret_checks
from tesp_api.errors import DataFolderInUse, PulsarError, StoreError
from tesp_api.runner.spool import SPARE_BYTES
from tesp_api.settings import DestinationSettings, Settings


def check_everything(settings: Settings) -> list[Check]:
    """All checks, in the order in which a server would stumble."""
    checks: list[Check] = []
    if settings.store.kind == "mongodb":
        checks.append(_mongodb(settings))
    if settings.store.kind == "sqlite" or settings.has_embedded_pulsar or settings.has_gateway:
        checks += _data_folder(settings)
    checks += key_checks(settings)
    checks += secret_checks(settings)
    checks += login_checks(settings)
    checks += channel_checks(settings)
    for name, site in settings.destinations.items():
        checks.append(_pulsar(name, site, settings))
        if site.staging == "gateway":
            checks.append(_gateway(name, site, settings))
        if site.kind == "embedded":  # what another machine has, only its worker can tell
            checks.append(_worker_python(name, site))
            checks += _runtimes(name, site)
            checks += _file_roots(name, site)
    checks += engine_checks(settings)
    if all(check.level != "fail" for check in checks if check.name == "store"):
        checks += run_checks(settings)
    return checks


def _data_folder(settings: Settings) -> Iterator[Check]:
    folder = settings.data_dir
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        yield Check(
            "data folder",
            "fail",
            f"{folder} cannot be written",
            f"make {nearest} a folder of {os.environ.get('USER', 'this user')}, or name another with --data",
        )
    elif not folder.exists():
        yield Check("data folder", "ok", f"{folder} will be made at the first start")
    elif settings.store.kind == "mongodb":
        yield Check("data folder", "ok", str(folder))
    else:
        yield from _embedded_store(settings)


def _mongodb(settings: Settings) -> Check:
    try:
        asyncio.run(_open_and_ask(settings))
    except StoreError as error:
        mend = "start MongoDB, or correct store.url and store.database"
        return Check("store", "fail", str(error), mend)
    return Check("store", "ok", f"MongoDB, database {settings.store.database}: opens, reads and writes")


async def _open_and_ask(settings: Settings) -> None:
    store = build_store(settings)
    await store.open()
    try:
        await store.check()
    finally:
        await store.aclose()


def _embedded_store(settings: Settings) -> Iterator[Check]:
    try:
        asyncio.run(_open_and_ask(settings))
    except DataFolderInUse:
        yield Check("data folder", "ok", f"{settings.data_dir} is in use by a running server")
    except (StoreError, OSError) as error:
        yield Check("store", "fail", str(error), f"look at the files in {settings.data_dir}")
    else:
        yield Check("data folder", "ok", str(settings.data_dir))
        yield Check("store", "ok", "opens, reads and writes")


def _pulsar(name: str, site: DestinationSettings, settings: Settings) -> Check:
    label = f"Pulsar of {name}"
    if site.kind == "embedded":
        try:
            importlib.import_module("pulsar.core")
        except ImportError as error:
            return Check(label, "fail", f"cannot be imported: {error}", "install again: make install")
        return Check(label, "ok", "embedded")

    async def ask() -> None:
        transport = build_transports(settings)[name]
        await transport.open()
        try:
            await transport.check()
        finally:
            await transport.aclose()

    try:
        asyncio.run(ask())
    except PulsarError as error:
        key = f"destinations.{name}"
        other = "private_token" if site.kind == "rest" else "manager"
        return Check(label, "fail", str(error), f"start that Pulsar, or correct {key}.url and {key}.{other}")
    return Check(label, "ok", f"answers {site.place}")


def _gateway(name: str, site: DestinationSettings, settings: Settings) -> Check:
    folder = settings.data_dir
    free_bytes = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    label, cap_bytes = f"gateway of {name}", site.gateway_max_bytes
    found = (
        f"this server moves the files, up to {_gigabytes(cap_bytes)} of a task each way;"
        f" {_gigabytes(free_bytes)} are free in {folder}"
    )
    if free_bytes - SPARE_BYTES >= cap_bytes:
        return Check(label, "ok", found)
    mend = f"free some room, or lower destinations.{name}.gateway_max_bytes: larger tasks will fail"
    return Check(label, "warn", found, mend)


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"


def _worker_python(name: str, site: DestinationSettings) -> Check:
    label = f"Python of {name}"
    program = "import sys; print('%d.%d' % sys.version_info[:2]); sys.exit(sys.version_info < (3, 9))"
    code, said = run([site.site_python, "-c", program], timeout_s=15)
    if code == 0:
        return Check(label, "ok", f"{site.site_python} ({said})")
    found = f"{site.site_python} is no Python from 3.9 on ({said or f'exit code {code}'})"
    return Check(label, "fail", found, f"correct destinations.{name}.python, or leave it out")


def _runtimes(name: str, site: DestinationSettings) -> Iterator[Check]:
    probes = [probe(runtime) for runtime in site.runtimes_in_order]
    works = [one for one in probes if one.works]
    for one in probes:
        label = f"{one.runtime} of {name}"
        if one.works:
            chosen = "" if one is works[0] else f" (not used: {works[0].runtime} comes first)"
            yield Check(label, "ok", one.detail + chosen)
        elif one.installed:
            yield Check(label, "warn", f"does not work: {one.detail}", mend(one))
    if not works:
        allowed = "" if site.allow_bubblewrap else " and set allow_bubblewrap = true"
        yield Check(
            f"runtimes of {name}",
            "fail",
            f"none of {', '.join(site.runtimes_in_order)} works here",
            f"install docker or podman, or install bubblewrap{allowed}",
        )


def _file_roots(name: str, site: DestinationSettings) -> Iterator[Check]:
    for root in site.file_roots:
        label = f"file root of {name}"
        mend = f"make the folder, or correct destinations.{name}.file_roots"
        if not Path(root.path).is_dir():
            yield Check(label, "fail", f"{root.path} is no folder", mend)
        elif root.mount != "ro" and not os.access(root.path, os.W_OK):
            yield Check(label, "warn", f"{root.path} cannot be written: outputs there will fail", mend)
        else:
            yield Check(label, "ok", f"{root.path} ({root.mount})")
