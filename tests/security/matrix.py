"""The threat matrix: what is attacked (surface) by what (kind of attack), each cell with its tests.

The data are the files in `threats`, one for each surface. docs/threats.md is made of them:
`python -m tests.security.matrix` writes it, and with `--check` says whether it would change.
"""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "threats"
PAGE = REPOSITORY / "docs/threats.md"

KINDS = {
    "forgery": ("forged", "To pass for somebody else: forged tokens, guessed or stolen credentials."),
    "replay": (
        "replayed",
        "To use what was good once: revoked, expired, of an attempt that is over, sent twice.",
    ),
    "others": ("others'", "To reach what is another user's, another task's, another site's."),
    "injection": ("injected", "To have a text obeyed as an option, a command, a query, or a program."),
    "paths": ("paths", "To name a place that should not be reached: `..`, absolute paths, odd names."),
    "links": ("links", "To put a symlink, a device or a pipe where a file is expected."),
    "addresses": ("addresses", "To make the server or a worker talk to where the attacker cannot: SSRF."),
    "bombs": (
        "bombs",
        "To use up memory, disk, processes or time with little: too large, too deep, without end.",
    ),
    "slowness": (
        "slowness",
        "To hold what others need: slow or silent clients and servers, floods, outages.",
    ),
    "headers": ("headers", "To smuggle headers, requests or lines of a protocol into others."),
    "logs": ("logs", "To write what was not so into logs, or to steer the terminal of who reads them."),
    "disclosure": (
        "secrets",
        "To learn a secret, or what is none of one's business, from answers, logs or files.",
    ),
    "privileges": ("privileges", "To gain more rights than were given."),
}
"""The columns: a heading, and what it means."""


@dataclass(frozen=True)
class Attack:
    """One attack on a surface, how it ends, and the tests that show it: `FILE::TEST`, below tests/.

    A test may be given with a pattern of its parameters in brackets.
    """

    kind: str
    attack: str
    outcome: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Surface:
    """What can be attacked. `explained` says of each kind without a tested attack why there is none."""

    name: str
    title: str
    what: str
    attacks: tuple[Attack, ...]
    explained: Mapping[str, str]

    def of_kind(self, kind: str) -> list[Attack]:
        return [attack for attack in self.attacks if attack.kind == kind]


def load() -> list[Surface]:
    """All surfaces, in the order of their files."""
    return [_surface(file) for file in sorted(FOLDER.glob("*.toml"))]


def _surface(file: Path) -> Surface:
    data = tomllib.loads(file.read_text())
    attacks = tuple(Attack(tests=tuple(one.pop("tests")), **one) for one in data.pop("attack"))
    return Surface(file.stem.partition("_")[2], attacks=attacks, **data)


def faults(surfaces: Sequence[Surface]) -> Iterator[str]:
    """What the data lack by themselves: cells neither tested nor explained, or both; unknown kinds."""
    for surface in surfaces:
        for kind in surface.explained.keys() | {attack.kind for attack in surface.attacks}:
            if kind not in KINDS:
                yield f"{surface.name}: there is no kind {kind}"
        for kind in KINDS:
            if bool(surface.of_kind(kind)) == (kind in surface.explained):
                yield f"{surface.name}, {kind}: must be either tested or explained"
        for attack in surface.attacks:
            if not attack.tests or not attack.outcome:
                yield f"{surface.name}: {attack.attack} has no test, or no outcome"


def named_tests(surfaces: Sequence[Surface]) -> set[str]:
    return {test for surface in surfaces for attack in surface.attacks for test in attack.tests}


def missing_tests(surfaces: Sequence[Surface]) -> list[str]:
    """The tests that are named, and that pytest does not collect."""
    names = named_tests(surfaces)
    there = collected(sorted({name.partition("::")[0] for name in names}))
    return sorted(name for name in names if not is_collected(name, there))


def collected(files: Sequence[str]) -> dict[str, list[str]]:
    """The parameters of each test of the files, by `FILE::TEST`."""
    listed = [f"tests/{name}" for name in files if (REPOSITORY / "tests" / name).is_file()]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-o", "addopts=", *listed]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        path, colons, name = line.partition("::")
        if colons:
            test, _, parameters = name.partition("[")
            found.setdefault(f"{path.removeprefix('tests/')}::{test}", []).append(
                parameters.removesuffix("]")
            )
    return found


def is_collected(name: str, there: Mapping[str, Sequence[str]]) -> bool:
    test, bracket, pattern = name.partition("[")
    if test not in there:
        return False
    wanted = pattern.removesuffix("]").replace("[", "[[]")
    return not bracket or any(fnmatchcase(parameters, wanted) for parameters in there[test])


def page(surfaces: Sequence[Surface]) -> str:
    """docs/threats.md."""
    attacks = sum(len(surface.attacks) for surface in surfaces)
    cells = sum(len({attack.kind for attack in surface.attacks}) for surface in surfaces)
    explained = sum(len(surface.explained) for surface in surfaces)
    lines = [
        "# Threats",
        "",
        "<!-- Made by `make threats` of tests/security/threats; a test sees that it is up to date. -->",
        "",
        "Who is trusted with what is in [security.md](security.md). Here is what those try who are not, by",
        f"surface: {attacks} attacks in {cells} of {cells + explained} cells, each with its outcome, and",
        "with the tests that make it, which are those of `make test`. The other cells say why there is",
        "nothing to attack.",
        "",
        *_overview(surfaces),
        "",
        *(f"- **{heading}**: {meaning}" for heading, meaning in KINDS.values()),
    ]
    for surface in surfaces:
        lines += [
            "",
            f"## {surface.title}",
            "",
            surface.what,
            "",
            "| attack | outcome | held by |",
            "|---|---|---|",
        ]
        for kind in KINDS:
            lines += [_row(kind, attack) for attack in surface.of_kind(kind)]
        if surface.explained:
            lines += ["", "Nothing to attack:", ""]
            lines += [f"- {KINDS[kind][0]}: {why}" for kind in KINDS if (why := surface.explained.get(kind))]
    return "\n".join(lines) + "\n"


def _overview(surfaces: Sequence[Surface]) -> list[str]:
    rows = ["| surface | " + " | ".join(heading for heading, _ in KINDS.values()) + " |"]
    rows.append("|---|" + ":-:|" * len(KINDS))
    for surface in surfaces:
        counts = (str(len(surface.of_kind(kind)) or "·") for kind in KINDS)
        anchor = re.sub(r"[^a-z0-9 -]", "", surface.title.lower()).replace(" ", "-")
        rows.append(f"| [{surface.title}](#{anchor}) | " + " | ".join(counts) + " |")
    return rows


def _row(kind: str, attack: Attack) -> str:
    held = ", ".join(dict.fromkeys(_link(test) for test in attack.tests))
    return f"| {KINDS[kind][0]}: {_cell(attack.attack)} | {_cell(attack.outcome)} | {held} |"


def _link(test: str) -> str:
    file, _, name = test.partition("::")
    shown = name.partition("[")[0].removeprefix("test_").replace("_", " ")
    return f"[{shown}](../tests/{file})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    """Write the page, or check it."""
    surfaces = load()
    found = [*faults(surfaces), *(f"there is no test {name}" for name in missing_tests(surfaces))]
    text = page(surfaces)
    if "--check" in sys.argv[1:]:
        found += [] if PAGE.exists() and PAGE.read_text() == text else [f"{PAGE.name} is not up to date"]
    else:
        PAGE.write_text(text)
    print("\n".join(found) or f"{PAGE.name} is up to date")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
