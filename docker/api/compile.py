"""Compile the modules that a server imports: Python may not do so where nobody may write.

The bytecode is good for whatever time the files have, so that two builds of the same sources are alike.
"""

import importlib
import os
import pkgutil
import py_compile
import sys
import tempfile
from pathlib import Path

import tesp_api
from tesp_api.pulsar.local_pulsar import LocalPulsar

LATER = (
    "aio_pika",
    "argon2",
    "botocore.auth",
    "botocore.session",
    "joserfc",
    "pymongo",
    "uvicorn.loops.auto",
)
"""What is imported only where the settings name it."""


def main() -> None:
    sys.dont_write_bytecode = True
    for module in pkgutil.walk_packages(tesp_api.__path__, "tesp_api."):
        # expanders run where a workflow engine is
        if "expander" not in module.name.split(".") and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in LATER:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        pulsar = LocalPulsar(Path(folder), sys.executable)
        pulsar.start()
        pulsar.stop()
    done = 0
    for imported in list(sys.modules.values()):
        file = getattr(imported, "__file__", None)
        if file and file.endswith(".py") and file.startswith(sys.prefix + os.sep):
            py_compile.compile(
                file, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH, doraise=True
            )
            done += 1
    print(f"{done} modules are compiled")


if __name__ == "__main__":
    main()
