"""Imports and makes what servers need, for the process that they are forked from."""

import gc
import importlib

from tesp_api.pulsar.spared_imports import spared_imports
from tesp_api.runner.worker_archive import build_local_worker_archive, build_worker_archive

for name in (
    *("uvicorn", "uvicorn.loops.auto", "uvicorn.protocols.http.auto", "uvicorn.protocols.websockets.auto"),
    *("uvicorn.lifespan.on", "tesp_api.app", "tesp_api.pulsar.amqp", "tesp_api.pulsar.rest"),
    *("tesp_api.store.mongo_runs", "tesp_api.store.mongo_outbox", "tesp_api.store.mongo_accounts"),
):
    importlib.import_module(name)
with spared_imports():
    importlib.import_module("galaxy.job_metrics")
    importlib.import_module("pulsar.core")
build_worker_archive()
build_local_worker_archive()
gc.freeze()
