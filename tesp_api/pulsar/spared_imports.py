"""What Pulsar imports and the embedded one never calls: it is imported when somebody does."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

SPARED = (
    "galaxy.objectstore",
    "galaxy.tool_util.parser.output_collection_def",
    "galaxy.tool_util_models.tool_source",
    "galaxy.util.rst_to_html",
    "tusclient.client",
)
"""For object stores, Galaxy's tools, their help texts, and uploads by tus: most of the two seconds of
processor time that importing Pulsar takes."""


@contextmanager
def spared_imports() -> Iterator[None]:
    """In the block, what is imported from the modules `SPARED` is a function that imports it when called.

    A module that is imported already is left as it is. After the block, an import finds the real ones.
    """
    stand_ins = {name: _StandIn(name) for name in SPARED if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]


class _StandIn(ModuleType):
    """Has a function, or a class to be called, of every name."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        module = self.__name__

        def call(*arguments: Any, **named: Any) -> Any:
            return getattr(importlib.import_module(module), name)(*arguments, **named)

        return call
