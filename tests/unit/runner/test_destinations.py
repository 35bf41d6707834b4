"""A task goes where the largest share of the slots is free."""

from tesp_api.runner import destinations
from tesp_api.settings import DestinationSettings

SITES = {
    "small": DestinationSettings(max_running=2),
    "large": DestinationSettings(kind="rest", url="http://127.0.0.1:1", max_running=10),
}


def test_room_is_what_is_free_everywhere() -> None:
    assert destinations.room(SITES, {}) == 12
    assert destinations.room(SITES, {"small": 2, "large": 9}) == 1
    assert destinations.room(SITES, {"small": 5, "large": 10}) == 0


def test_the_emptiest_by_share_is_chosen_and_the_first_of_equals() -> None:
    assert destinations.choose(SITES, {}, SITES) == "small"
    assert destinations.choose(SITES, {"small": 1, "large": 4}, SITES) == "large"
    assert destinations.choose(SITES, {"small": 0, "large": 1}, SITES) == "small"


def test_only_what_fits_is_chosen() -> None:
    assert destinations.choose(SITES, {"small": 2}, {"small"}) == "small"


def test_a_task_that_fits_nowhere_goes_somewhere() -> None:
    assert destinations.choose(SITES, {"small": 1}, set()) == "large"
