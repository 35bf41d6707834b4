"""Nothing is imported upward. Source: docs/architecture.md."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tesp_api"

LAYERS = {
    "tes": {"tes", "errors"},
    "errors": {"tes"},
    "settings": {
        *("errors", "settings_auth", "settings_base", "settings_limits", "settings_sources"),
        *("settings_monitoring", "settings_webhooks", "settings_wes", "submit_templates"),
    },
    "settings_webhooks": {"settings_base", "tes"},
    "settings_wes": {"settings_base", "settings_engines"},
    "settings_engines": {"settings_base"},
    "settings_auth": {"settings_base"},
    "settings_limits": {"settings_base"},
    "settings_monitoring": {"settings_base"},
    "settings_base": set[str](),
    "settings_sources": {"errors"},
    "submit_templates": set[str](),
    "bell": set[str](),
    "context": set[str](),
    "garbage": set[str](),
    "metrics": {"metrics", "tes", "errors"},
    "tracing": {"tracing", "metrics", "store", "tes", "errors", "settings_monitoring", "bell"},
    "store": {"store", "tes", "errors", "bell"},
    "pulsar": {"pulsar", "tes", "errors"},
    "storage": {"storage", "worker", "tes", "errors", "settings"},
    "worker": {"worker"},
    "runner": {
        *("runner", "worker", "pulsar", "store", "storage", "tes", "errors", "settings", "bell"),
        *("submit_templates", "metrics", "context"),
    },
    "webhooks": {
        *("webhooks", "store", "storage", "worker", "tes", "errors", "settings", "settings_webhooks", "bell"),
    },
    "wes": {
        *("settings_engines", "webhooks", "wes", "store", "storage", "worker", "tes", "errors", "settings"),
        *("bell", "context", "tracing"),
    },
    "api": {
        *("api", "webhooks", "wes", "store", "storage", "tes", "errors", "settings", "settings_auth"),
        *("settings_limits", "bell", "audit_log", "web", "metrics", "context", "tracing"),
    },
    "web": {"web"},
    "audit_log": {"settings", "tes"},
}
"""Each layer, and the layers that it may import. `cli` and `app` put things together and may import all."""

CONCRETE = {
    "tesp_api.store.sqlite",
    "tesp_api.store.mongo",
    "tesp_api.store.sqlite_runs",
    "tesp_api.store.mongo_runs",
    "tesp_api.store.sqlite_outbox",
    "tesp_api.store.mongo_outbox",
    "tesp_api.store.sqlite_accounts",
    "tesp_api.store.mongo_accounts",
    "tesp_api.store.sqlite_upkeep",
    "tesp_api.store.mongo_upkeep",
    "tesp_api.pulsar.embedded",
    "tesp_api.pulsar.rest",
}
"""The backends that only app.py names (and, of each other's helpers, nobody)."""

BESIDE = {
    ("tesp_api.store.sqlite_runs", "tesp_api.store.sqlite"),
    ("tesp_api.store.mongo_runs", "tesp_api.store.mongo"),
    ("tesp_api.store.sqlite_outbox", "tesp_api.store.sqlite"),
    ("tesp_api.store.mongo_outbox", "tesp_api.store.mongo"),
    ("tesp_api.store.mongo_run_creation", "tesp_api.store.mongo"),
    ("tesp_api.store.sqlite_upkeep", "tesp_api.store.sqlite"),
    ("tesp_api.store.sqlite_upkeep", "tesp_api.store.sqlite_accounts"),
}
"""Stores of runs, and outboxes, that lie in the tasks' database; and what looks after both SQLite files."""


ENGINES = PACKAGE / "wes" / "engines"
EXPANDERS = ("inside", "cwl/expander", "snakemake/expander")
"""They run in other environments, in sandboxes: of ours there is nothing but themselves and `inside`."""


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def layer_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file: Path) -> Iterator[str]:
    """The absolute names of all modules of ours that a file imports, wherever in it."""
    package = file.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        yield from (name for name in names if name.split(".")[0] == "tesp_api")


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_layer_may(file: Path) -> None:
    layer = layer_of(file)
    if layer not in LAYERS:
        assert layer in {"__init__", "app", "tesp_api", "cli"}, f"{layer} has no place in LAYERS"
        return
    imported = {name.split(".")[1] for name in imports(file) if "." in name}
    assert imported <= LAYERS[layer]


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_only_the_composition_root_names_backends(file: Path) -> None:
    if file == PACKAGE / "app.py":
        return
    own = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    beside = {backend for one, backend in BESIDE if one == own}
    assert not (set(imports(file)) & CONCRETE) - {own} - beside


@pytest.mark.parametrize("folder", EXPANDERS)
def test_an_expander_imports_nothing_but_itself(folder: str) -> None:
    there = {".".join((ENGINES / one).relative_to(ROOT).parts) for one in (folder, "inside")}
    for file in sorted((ENGINES / folder).glob("*.py")):
        assert all(name.startswith(tuple(there)) for name in imports(file)), file
