"""A server loads what its settings ask for, and no more: its start is mostly imports."""

import subprocess
import sys

import pytest

from tesp_api.pulsar.spared_imports import SPARED, spared_imports


def loaded(program: str) -> set[str]:
    """The modules that an interpreter has after running the program."""
    shown = "; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program + shown], capture_output=True, text=True, timeout=120, check=True
    )
    return set(done.stdout.split())


def test_what_only_some_settings_need_is_not_loaded() -> None:
    modules = loaded("import tesp_api.app")
    assert "fastapi" in modules
    for_others = {"pymongo", "aio_pika", "aiohttp", "httpx", "botocore", "joserfc", "opentelemetry.sdk"}
    assert not modules & for_others


def test_the_embedded_pulsar_loads_nothing_of_galaxys_tools(tmp_path: str) -> None:
    modules = loaded(
        "from pathlib import Path; from tesp_api.pulsar.local_pulsar import LocalPulsar\n"
        f"pulsar = LocalPulsar(Path({str(tmp_path)!r}), 'python3'); pulsar.start(); pulsar.stop()"
    )
    assert "pulsar.core" in modules
    assert not modules & {*SPARED, "aiohttp", "docutils", "galaxy.tool_util_models"}


def test_what_was_spared_is_there_when_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SPARED:
        monkeypatch.delitem(sys.modules, name, raising=False)
    with spared_imports():
        from galaxy.util.rst_to_html import rst_to_html
    assert "galaxy.util.rst_to_html" not in sys.modules
    assert "<em>text</em>" in rst_to_html("*text*")
