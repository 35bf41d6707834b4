"""docs/monitoring.md, dashboard and alerts name metrics that there are, and settings that can be used."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from tesp_api.metrics.page import Metrics
from tesp_api.settings import load_settings
from tests.unit.metrics.table import PAGE, page

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "docker/grafana/tesp.json").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((ROOT / "docker/prometheus/tesp-alerts.yaml").read_text())
TEXT = PAGE.read_text()

_NAME = re.compile(r"\b(?:tesp|process|python)_[a-z_]+[a-z]\b")
_QUOTED = re.compile(r'"[^"]*"')
_SELECTOR = re.compile(r"([a-z_]+)\{([^}]*)\}")


def exported() -> dict[str, set[str]]:
    """The labels of every sample that there can be, by its name."""
    metrics = Metrics()
    found: dict[str, set[str]] = {}
    for one in metrics.describe_all():
        endings = ("_bucket", "_sum", "_count") if one.kind == "histogram" else ("",)
        for ending in endings:
            found[one.name + ending] = {*one.labels, *(("le",) if ending == "_bucket" else ())}
    text = generate_latest(metrics._registry).decode()
    for name in re.findall(r"^((?:process|python)_\w+)", text, re.MULTILINE):
        found.setdefault(name, set())
    return found


EXPORTED = exported()
OF_PROMETHEUS = {"job", "instance"}


def expressions() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


EXPRESSIONS = dict(expressions())


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_expression_asks_for_what_is_exported(name: str) -> None:
    text = EXPRESSIONS[name]
    names = _NAME.findall(_QUOTED.sub('""', text))
    assert names or name == "TespDown"
    labels: set[str] = set()
    for one in names:
        assert one in EXPORTED, one
        labels |= EXPORTED[one]
    for metric, selector in _SELECTOR.findall(text):
        asked = set(re.findall(r"([a-z_]+)\s*(?:=|!)", selector))
        assert asked <= EXPORTED.get(metric, set()) | OF_PROMETHEUS, selector
    for by in re.findall(r"by \(([^)]*)\)", text):
        assert set(re.split(r"\s*,\s*", by)) <= labels | OF_PROMETHEUS, by


def test_the_dashboard_is_one_that_grafana_can_import() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids) > 20
    assert DASHBOARD["uid"] == "tesp" and DASHBOARD["title"] == "TESP"
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    taken = [
        (x, y)
        for one in places
        for x in range(one["x"], one["x"] + one["w"])
        for y in range(one["y"], one["y"] + one["h"])
    ]
    assert len(set(taken)) == len(taken), "panels lie over each other"
    assert max(x for x, _ in taken) < 24
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]+)", json.dumps(DASHBOARD["panels"])))
    assert used <= variables
    for panel in DASHBOARD["panels"]:
        assert panel["type"] == "row" or panel["targets"]


def test_every_metric_that_counts_something_is_on_the_dashboard() -> None:
    shown = " ".join(EXPRESSIONS.values())
    missing = [one.name for one in Metrics().describe_all() if one.name not in shown]
    assert missing == []


def test_every_alert_says_what_it_is_about() -> None:
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["annotations"]["summary"] and rule["labels"]["severity"] in ("warning", "critical")


def test_the_table_of_metrics_is_up_to_date() -> None:
    assert page() == TEXT, "run: python -m tests.unit.metrics.table"


def test_every_metric_that_the_page_names_is_exported() -> None:
    whole = {name for name in re.findall(r"`(tesp_[a-z_]+)`", TEXT) if not name.endswith("_bucket")}
    assert whole - {one.name for one in Metrics().describe_all()} == set()
    assert len(whole) > 30


@pytest.mark.parametrize("example", re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
def test_every_example_of_settings_is_valid(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.toml").write_text(example)
    monkeypatch.setenv("TESP_API_SETTINGS", str(tmp_path / "settings.toml"))
    settings = load_settings()
    assert settings.metrics.token or settings.tracing.is_on


def test_the_token_can_be_in_a_file_and_headers_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text("0123456789abcdef" * 2 + "\n")
    monkeypatch.setenv("TESP_API_METRICS__TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("TESP_API_TRACING__HEADERS__AUTHORIZATION", "Bearer hush-hush")
    settings = load_settings()
    assert settings.metrics.token is not None
    assert settings.metrics.token.get_secret_value() == "0123456789abcdef" * 2
    [(name, value)] = settings.tracing.headers.items()
    assert (name.lower(), value.get_secret_value()) == ("authorization", "Bearer hush-hush")
    assert "hush" not in repr(settings) and "0123" not in repr(settings)


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", TEXT)
    assert [link for link in links if not (ROOT / "docs" / link).resolve().is_file()] == []
