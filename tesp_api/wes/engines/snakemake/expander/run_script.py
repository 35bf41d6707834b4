"""Runs a Python script of a rule, with the object `snakemake` that it expects. Goes along to the step's task.

The image needs Python 3.7 or newer, and no Snakemake.
"""

from __future__ import annotations

import importlib.util
import json
import pathlib
import sys
import types
from typing import Any, List  # noqa: UP035 - older Pythons cannot inherit from list[Any]


class NamedList(List[Any]):  # noqa: UP006
    """A list with names for items, and for runs of items."""

    def __init__(self, items: list[Any], names: dict[str, Any]) -> None:
        super().__init__(items)
        self._names = names
        for name, (start, end) in names.items():
            setattr(self, name, items[start] if end is None else NamedList(items[start:end], {}))

    def keys(self) -> list[str]:
        """The names."""
        return list(self._names)

    def items(self) -> list[tuple[str, Any]]:
        """The names with what they are of."""
        return [(name, getattr(self, name)) for name in self._names]

    def get(self, name: str, default: Any = None) -> Any:
        """What has the name."""
        return getattr(self, name) if name in self._names else default

    def __getitem__(self, key: Any) -> Any:
        return getattr(self, key) if isinstance(key, str) else super().__getitem__(key)


def main(script: str, told_in: str) -> None:
    """Run the script with what the JSON file `told_in` says of its job."""
    told = json.loads(pathlib.Path(told_in).read_text(encoding="utf-8"))
    for name in ("input", "output", "params", "wildcards", "resources", "log"):
        told[name] = NamedList(**told[name])
    snakemake = types.SimpleNamespace(**told)
    if importlib.util.find_spec("snakemake") is None:  # then this is what `import snakemake` finds
        package, module = types.ModuleType("snakemake"), types.ModuleType("snakemake.script")
        vars(package)["script"], vars(module)["snakemake"] = module, snakemake
        sys.modules.update({"snakemake": package, "snakemake.script": module})
    code = compile(pathlib.Path(script).read_bytes(), script, "exec")
    sys.argv = [script]
    sys.path[0] = str(pathlib.Path(script).absolute().parent)
    names = vars(sys.modules["__main__"])
    names.update(__file__=script, snakemake=snakemake)
    exec(code, names)  # noqa: S102 - it is what this is for


if __name__ == "__main__":
    main(*sys.argv[1:])
