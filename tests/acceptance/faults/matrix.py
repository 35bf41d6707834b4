"""The matrix of what was played: for each kind of world, a row for each fault and a column for each phase."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from tests.acceptance.faults.campaign import Outcome
from tests.acceptance.faults.scenario import ANY_PHASE, PHASES, SURVEY, Absence

MISSING = "MISSING"


@dataclass(frozen=True, slots=True)
class Cell:
    """How many scenarios were played there, and how many went well; or the reason why there are none."""

    played: int
    good: int
    reason: str = ""

    @property
    def is_fine(self) -> bool:
        return self.good == self.played if self.played else self.reason != MISSING


class Matrix:
    """What `outcomes` come to; a cell that has neither a scenario nor a reason is missing."""

    def __init__(
        self,
        outcomes: Collection[Outcome],
        absences: Sequence[Absence],
        faults: Sequence[str],
        worlds: Sequence[str],
    ) -> None:
        self._absences = absences
        self.faults, self.worlds = faults, worlds
        self._beside: list[Outcome] = []
        self._cells: dict[tuple[str, str, str], list[bool]] = {}
        for outcome in outcomes:
            if outcome.phase == ANY_PHASE:
                self._beside.append(outcome)
            elif outcome.phase != SURVEY:
                where = (outcome.fault, outcome.phase, outcome.world)
                self._cells.setdefault(where, []).append(not outcome.faults)

    def cell(self, fault: str, phase: str, world: str) -> Cell:
        if played := self._cells.get((fault, phase, world)):
            return Cell(len(played), sum(played))
        for absence in self._absences:
            if absence.covers(fault, phase, world):
                return Cell(0, 0, absence.reason)
        return Cell(0, 0, MISSING)

    def missing(self) -> list[str]:
        """The cells that are neither played nor explained."""
        return [
            f"{fault}/{world}/{phase}"
            for fault in self.faults
            for world in self.worlds
            for phase in PHASES
            if not self.cell(fault, phase, world).is_fine and not self.cell(fault, phase, world).played
        ]

    def markdown(self) -> str:
        """A table for each kind of world, and the reasons below them."""
        reasons: dict[str, str] = {}
        lines: list[str] = []
        for world in self.worlds:
            lines += [f"### {world}", "", *self._table(world, reasons), ""]
        lines += [f"- ({letter}) {reason}" for reason, letter in reasons.items()]
        lines += ["", "### Beside the matrix", ""] if self._beside else []
        groups: dict[str, list[Outcome]] = {}
        for one in self._beside:
            groups.setdefault(f"{one.fault} ({one.world})", []).append(one)
        lines += [f"- {what}: {_fate(outcomes)}" for what, outcomes in groups.items()]
        return "\n".join(lines) + "\n"

    def _table(self, world: str, reasons: dict[str, str]) -> Iterator[str]:
        yield "| fault | " + " | ".join(PHASES) + " |"
        yield "|---|" + "---|" * len(PHASES)
        for fault in self.faults:
            shown = [_shown(self.cell(fault, phase, world), reasons) for phase in PHASES]
            yield f"| {fault} | " + " | ".join(shown) + " |"


def _fate(outcomes: Sequence[Outcome]) -> str:
    """How scenarios of one kind went, which differ in their moments."""
    failed = sum(bool(one.faults) for one in outcomes)
    if failed:
        return f"**{failed} of {len(outcomes)} failed**"
    return f"all is well ({outcomes[0].note if len(outcomes) == 1 else f'{len(outcomes)} times'})"


def _shown(cell: Cell, reasons: dict[str, str]) -> str:
    if cell.played:
        return str(cell.good) if cell.good == cell.played else f"**{cell.good} of {cell.played}**"
    if cell.reason == MISSING:
        return "**?**"
    return f"({reasons.setdefault(cell.reason, _letter(len(reasons)))})"


def _letter(number: int) -> str:
    return chr(ord("a") + number) if number < 26 else _letter(number // 26 - 1) + _letter(number % 26)
