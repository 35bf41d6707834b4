"""Where a task goes, and why: by its needs, the settings, the load and who answers."""

from typing import Any

import pytest

from tesp_api.runner.destinations import Chosen, Load, Waits, choose, refusals
from tesp_api.runner.needs import Needs, needs_of
from tesp_api.settings import DestinationSettings, Settings
from tests.factories import make_request

ALL: dict[str, dict[str, Any]] = {
    "small": {"max_running": 2},
    "large": {"kind": "rest", "url": "http://127.0.0.1:1", "max_running": 10},
}


def settings(**sites: dict[str, Any]) -> Settings:
    """Settings with these destinations, each upon those of `ALL` with the same name."""
    return Settings.model_validate(
        {"destinations": {name: ALL.get(name, {}) | site for name, site in sites.items()}}
    )


def asks(to: Settings, parameters: dict[str, str] | None = None, **resources: Any) -> Needs:
    if parameters:
        resources["backend_parameters"] = parameters
    return needs_of(make_request(resources=resources), to, frozenset(to.destinations))


def chosen(
    needs: Needs, to: Settings, loads: dict[str, Load] | None = None, closed: dict[str, str] | None = None
) -> Chosen | Waits:
    refused = refusals(needs, to.destinations)
    fitting = {name: site for name, site in to.destinations.items() if name not in refused}
    return choose(needs, fitting, loads or {}, closed or {})


def rest(**site: Any) -> dict[str, Any]:
    return {"kind": "rest", "url": "http://127.0.0.1:1", "max_running": 10} | site


def test_the_emptiest_by_share_is_chosen_and_the_first_of_equals() -> None:
    to = settings(small={}, large={})
    assert chosen(asks(to), to) == Chosen("small", "the first of small, large")
    loads = {"small": Load(1, 1, 2000), "large": Load(4, 4, 8000)}
    assert chosen(asks(to), to, loads) == Chosen("large", "emptier than small")


def test_the_scarcest_thing_counts_as_the_share() -> None:
    to = settings(small={"max_running": 10, "max_cores": 10}, large={})
    loads = {"small": Load(1, 8, 2000), "large": Load(5, 5, 10000)}
    assert chosen(asks(to), to, loads) == Chosen("large", "emptier than small")


def test_an_only_destination_needs_no_reason() -> None:
    to = settings(small={})
    assert chosen(asks(to), to) == Chosen("small", "")


@pytest.mark.parametrize(
    ("site", "resources", "refusal"),
    [
        ({"task_max_cores": 4}, {"cpu_cores": 5}, "cpu_cores: 5 is more than the 4 that one task can have"),
        ({"max_cores": 4}, {"cpu_cores": 5}, "cpu_cores: 5 is more than the 4 that one task can have"),
        (
            {"task_max_ram_gb": 1.5},
            {"ram_gb": 1.6},
            "ram_gb: 1.6 is more than the 1.5 that one task can have",
        ),
        ({"max_ram_gb": 1}, {}, "ram_gb: 2 is more than the 1 that one task can have"),
        ({"task_max_disk_gb": 10}, {"disk_gb": 10.5}, "disk_gb: 10.5 is more than the 10 that one task"),
        ({"preemptible": True}, {}, "its jobs may be preempted"),
        ({"zones": ["eu-1", "eu-2"]}, {"zones": ["us-1"]}, "it is in none of the zones us-1"),
    ],
)
def test_what_a_destination_can_never_take(
    site: dict[str, Any], resources: dict[str, Any], refusal: str
) -> None:
    to = settings(small=site, large={})
    found = refusals(asks(to, **resources), to.destinations)
    assert refusal in found["small"]
    assert ("large" in found) == ("zones" in resources)  # where zones are named at all, none is no zone


@pytest.mark.parametrize(
    ("site", "resources"),
    [
        ({"task_max_cores": 4, "max_cores": 4}, {"cpu_cores": 4}),
        ({"max_ram_gb": 2}, {}),
        ({"task_max_ram_gb": 1.1}, {"ram_gb": 1.1}),
        ({"task_max_ram_gb": 4.35}, {"ram_gb": 4.35}),
        ({"task_max_disk_gb": 10}, {"disk_gb": 10}),
        ({"task_max_disk_gb": 10}, {}),
        ({"preemptible": True}, {"preemptible": True}),
        ({"zones": ["eu-1", "eu-2"]}, {"zones": ["us-1", "eu-2"]}),
        ({"zones": ["eu-1"]}, {}),
        ({}, {"zones": ["anywhere"]}),
    ],
)
def test_limits_may_be_reached(site: dict[str, Any], resources: dict[str, Any]) -> None:
    to = settings(small=site)
    assert not refusals(asks(to, **resources), to.destinations)


def test_a_task_goes_where_it_names() -> None:
    to = settings(small={}, large={})
    needs = asks(to, {"Destination": "large"})
    assert chosen(needs, to) == Chosen("large", "the task names it")
    assert refusals(needs, to.destinations) == {"small": "the task names large"}


def test_a_task_that_allows_preemption_prefers_it_and_may_go_elsewhere() -> None:
    to = settings(small={}, large={"preemptible": True})
    needs = asks(to, preemptible=True)
    assert chosen(needs, to) == Chosen("large", "sooner preempted than small")
    away = chosen(needs, to, closed={"large": "its Pulsar does not answer"})
    assert away == Chosen("small", "large: its Pulsar does not answer")
    assert chosen(asks(to), to) == Chosen("small", "")


def test_nearness_counts_before_weight_and_weight_before_load() -> None:
    to = settings(
        small={"near": ["s3://lab/", "/data"]},
        large={"near": ["https://a.org/x"], "weight": 2},
        third=rest(weight=2),
    )
    urls = ["s3://lab/reads", "file:///data/refs/a", "https://a.org/x/1"]
    request = make_request(inputs=[{"url": url, "path": f"/in/{at}"} for at, url in enumerate(urls)])
    needs = needs_of(request, to, frozenset(to.destinations))
    assert dict(needs.near) == pytest.approx({"small": 2 / 3, "large": 1 / 3})
    assert chosen(needs, to) == Chosen("small", "nearer to its data than large, third")
    assert chosen(asks(to), to, {"large": Load(5, 5, 5)}) == Chosen("third", "emptier than large")


def test_only_whole_parts_of_a_path_are_near() -> None:
    to = settings(small={"near": ["s3://lab", "/data"]})
    urls = ["s3://laboratory/a", "/database/a"]
    request = make_request(inputs=[{"url": url, "path": f"/in/{at}"} for at, url in enumerate(urls)])
    assert not needs_of(request, to, frozenset(to.destinations)).near


def test_what_is_full_or_away_is_not_chosen() -> None:
    to = settings(small={"max_cores": 4, "max_ram_gb": 8}, large={})
    full = {"small": Load(1, 3, 2000), "large": Load(10, 10, 20000)}
    assert chosen(asks(to), to, full) == Chosen("small", "large: all 10 places are taken")
    assert chosen(asks(to, cpu_cores=2), to, full) == Waits(
        "small: 2 of its 4 cores must become free; large: all 10 places are taken"
    )
    assert chosen(asks(to, ram_gb=6.5), to, full, {"large": "its Pulsar does not answer"}) == Waits(
        "small: 6.5 of its 8 GB of RAM must become free; large: its Pulsar does not answer"
    )


def test_defaults_count_for_what_a_task_does_not_say() -> None:
    to = Settings.model_validate({"scheduler": {"default_cores": 3, "default_ram_gb": 0.5}})
    needs = asks(to)
    assert (needs.cores, needs.ram_mb, needs.disk_mb) == (3, 500, None)


def test_a_destination_that_cannot_get_the_logins_is_refused() -> None:
    to = settings(small={}, large={})
    needs = asks(to)._replace(deliverable=frozenset({"small"}))
    assert list(refusals(needs, to.destinations)) == ["large"]


def test_unlimited_is_the_default() -> None:
    site = DestinationSettings()
    assert (site.most_cores, site.most_ram_mb, site.most_disk_mb) == (None, None, None)
