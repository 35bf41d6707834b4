"""A few scenarios of the matrix, chosen by a seed: `make faults` plays them all."""

import os
import random

import pytest

from tests.acceptance.faults import runs_killed
from tests.acceptance.faults.campaign import Campaign, Outcome
from tests.acceptance.faults.catalogue import (
    all_absences,
    all_faults,
    all_scenarios,
    all_worlds,
    quick_scenarios,
)
from tests.acceptance.faults.courses import Course
from tests.acceptance.faults.invariants import faults_of_history, faults_of_runs
from tests.acceptance.faults.matrix import Matrix
from tests.acceptance.faults.scenario import PHASES, SURVEY, Absence

SELECTED = ("server killed/sqlite+embedded/*",)
MOST = 6


@pytest.mark.services
@pytest.mark.parametrize("pattern", SELECTED)
def test_a_few_scenarios(pattern: str) -> None:
    """TESP_FAULTS_SEED plays those of an earlier run again."""
    seed = int(os.environ.get("TESP_FAULTS_SEED") or random.randrange(10**6))
    print(f"TESP_FAULTS_SEED={seed}")
    courses = random.Random(seed).sample([*Course], 2)
    chosen = [one for one in all_scenarios() if one.phase != SURVEY or one.detail in courses]
    outcomes = Campaign(seed, pattern, most=MOST).play(chosen)
    wrong = [line for outcome in outcomes if outcome.faults for line in (outcome.name, *outcome.faults)]
    assert not wrong, "\n".join([f"TESP_FAULTS_SEED={seed}", *wrong])
    assert len(outcomes) == MOST + len(courses)


@pytest.mark.services
def test_one_fault_with_a_task_in_every_phase() -> None:
    seed = int(os.environ.get("TESP_FAULTS_SEED") or random.randrange(10**6))
    scenario = random.Random(seed).choice(quick_scenarios())
    print(f"TESP_FAULTS_SEED={seed}: {scenario.name}")
    outcomes = Campaign(seed).play([scenario])
    wrong = [line for outcome in outcomes if outcome.faults for line in (outcome.name, *outcome.faults)]
    assert not wrong, "\n".join([f"TESP_FAULTS_SEED={seed}", *wrong])
    assert outcomes


@pytest.mark.services
def test_a_few_kills_of_workflow_runs() -> None:
    seed = int(os.environ.get("TESP_FAULTS_SEED") or random.randrange(10**6))
    drills = [one for one in runs_killed.scenarios() if one.world == runs_killed.EMBEDDED]
    chosen = random.Random(seed).sample(drills, 3)
    print(f"TESP_FAULTS_SEED={seed}: {[one.name for one in chosen]}")
    outcomes = Campaign(seed).play(chosen)
    wrong = [line for outcome in outcomes if outcome.faults for line in (outcome.name, *outcome.faults)]
    assert not wrong, "\n".join([f"TESP_FAULTS_SEED={seed}", *wrong])
    assert len(outcomes) == 3


@pytest.mark.parametrize(
    ("states", "shown", "is_well"),
    [
        ("QUEUED INITIALIZING RUNNING COMPLETE", "COMPLETE", True),
        ("QUEUED QUEUED INITIALIZING RUNNING QUEUED INITIALIZING RUNNING COMPLETE", "COMPLETE", True),
        ("QUEUED CANCELING CANCELED", "CANCELED", True),
        ("QUEUED RUNNING COMPLETE", "COMPLETE", False),
        ("QUEUED INITIALIZING RUNNING COMPLETE COMPLETE", "COMPLETE", False),
        ("QUEUED INITIALIZING RUNNING COMPLETE CANCELED", "CANCELED", False),
        ("QUEUED INITIALIZING RUNNING", "RUNNING", False),
        ("INITIALIZING RUNNING COMPLETE", "COMPLETE", False),
        ("", "QUEUED", False),
    ],
)
def test_a_history_is_judged(states: str, shown: str, is_well: bool) -> None:
    assert (faults_of_history(states.split(), shown) == []) is is_well


@pytest.mark.parametrize(
    ("noted", "recorded", "state", "is_well"),
    [
        ("t-1 0,t-1 1", "t-1", "COMPLETE", True),
        ("t-1 0,t-1 1,t-2 0,t-2 1", "t-1,t-2", "COMPLETE", True),
        ("t-2 0,t-2 1", "t-1,t-2", "EXECUTOR_ERROR", True),
        ("t-1 0", "t-1", "CANCELED", True),
        ("", "", "CANCELED", True),
        ("t-1 0,t-1 0,t-1 1", "t-1", "COMPLETE", False),
        ("t-1 0,t-1 0", "t-1", "CANCELED", False),
        ("t-1 0,t-1 1,t-2 0,t-2 1", "t-1", "COMPLETE", False),
        ("t-1 0,t-1 1,t-2 0", "t-1,t-2", "COMPLETE", False),
        ("t-1 0,t-1 1", "t-1,t-1", "COMPLETE", False),
        ("", "t-1", "COMPLETE", False),
    ],
)
def test_what_ran_is_judged(noted: str, recorded: str, state: str, is_well: bool) -> None:
    lines, jobs = ([part for part in text.split(",") if part] for text in (noted, recorded))
    assert (faults_of_runs(lines, jobs, state) == []) is is_well


def test_a_cell_is_played_or_explained_or_missing() -> None:
    outcomes = [
        Outcome("", "a", "queued", "one", "", 1.0, ()),
        Outcome("", "a", "launch", "one", "", 1.0, ()),
        Outcome("", "a", "launch", "one", "", 1.0, ("it ran twice",)),
    ]
    absences = [Absence("a", "r*", "one", "no reason to")]
    matrix = Matrix(outcomes, absences, ["a"], ["one"])
    missing = matrix.missing()
    assert "a/one/queued" not in missing
    assert {"a/one/running", "a/one/retired"}.isdisjoint(missing)
    assert len(missing) == len(PHASES) - 4
    (row,) = (line for line in matrix.markdown().splitlines() if line.startswith("| a "))
    assert row.startswith("| a | 1 | **1 of 2** | **?** | (a) |")
    assert "- (a) no reason to" in matrix.markdown()


def test_every_reason_is_about_something() -> None:
    for absence in all_absences():
        assert any(
            absence.covers(fault, phase, kind)
            for fault in all_faults()
            for phase in PHASES
            for kind in all_worlds()
        ), absence
