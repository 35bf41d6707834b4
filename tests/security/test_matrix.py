"""The threat matrix is whole: each cell is tested or explained, each test there, and the page the same."""

import pytest

from tests.security.matrix import (
    KINDS,
    PAGE,
    Attack,
    Surface,
    faults,
    is_collected,
    load,
    missing_tests,
    page,
)

SURFACES = load()
ATTACK = Attack("forgery", "a", "401", ("x.py::test_x",))
EXPLAINED = {kind: "nothing" for kind in KINDS if kind != "forgery"}


def test_each_cell_is_tested_or_explained() -> None:
    assert list(faults(SURFACES)) == []
    assert sum(len(surface.of_kind(kind)) > 0 for surface in SURFACES for kind in KINDS) > 80


def test_each_test_that_is_named_is_there() -> None:
    assert missing_tests(SURFACES) == []


def test_the_page_is_made_of_the_data() -> None:
    assert PAGE.read_text() == page(SURFACES), "run: make threats"


@pytest.mark.parametrize(
    ("surface", "said"),
    [
        (Surface("s", "S", "", (ATTACK,), EXPLAINED), []),
        (Surface("s", "S", "", (), EXPLAINED), ["s, forgery: must be either tested or explained"]),
        (
            Surface("s", "S", "", (ATTACK,), EXPLAINED | {"forgery": "twice"}),
            ["s, forgery: must be either tested or explained"],
        ),
        (Surface("s", "S", "", (ATTACK,), EXPLAINED | {"x": "y"}), ["s: there is no kind x"]),
        (
            Surface("s", "S", "", (Attack("forgery", "a", "401", ()),), EXPLAINED),
            ["s: a has no test, or no outcome"],
        ),
    ],
)
def test_what_is_missing_is_told(surface: Surface, said: list[str]) -> None:
    assert list(faults([surface])) == said


@pytest.mark.parametrize(
    ("name", "is_there"),
    [
        ("a.py::test_x", True),
        ("a.py::test_x[one]", True),
        ("a.py::test_x[*two[0] as*]", True),
        ("a.py::test_x[three]", False),
        ("a.py::test_y", False),
        ("b.py::test_x", False),
    ],
)
def test_a_name_is_that_of_a_test_and_perhaps_of_its_parameters(name: str, is_there: bool) -> None:
    assert is_collected(name, {"a.py::test_x": ["one", "sqlite-two[0] as 7"]}) is is_there
