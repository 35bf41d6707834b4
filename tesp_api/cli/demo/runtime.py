"""Which container runtime the demo uses, and why: the first that works *and* can have the image."""

import os
import shutil
from dataclasses import dataclass

from tesp_api.cli.demo.report import say
from tesp_api.cli.exits import CommandFailed
from tesp_api.cli.runtimes import can_run, mend, probe, run

IMAGE = "busybox:latest"

_PULL_WITHIN_S = 20
_INSTALL_WITHIN_S = 150


@dataclass(frozen=True, slots=True)
class Choice:
    """What the server's settings will say: the container engines, and whether bubblewrap is allowed."""

    engines: list[str]
    bubblewrap: bool


def choose_runtime() -> Choice:
    """Docker or Podman where they can run the demo's image; bubblewrap otherwise, installed if need be.

    Raises:
        CommandFailed: nothing here can run a container, and why.
    """
    reasons = []
    for engine in ("docker", "podman"):
        found = probe(engine)
        usable, detail = found.works, found.detail
        if usable:
            usable, detail = can_run(engine, IMAGE, pull_within_s=_PULL_WITHIN_S)
        if usable:
            say(f"Containers: {engine} {found.detail}, because {detail} ({IMAGE}).")
            return Choice([engine], bubblewrap=False)
        reasons.append(f"{engine}: {detail}")
    say("Containers: bubblewrap, this machine's own programs in a sandbox, because")
    for reason in reasons:
        say(f"  {reason}")
    _require_bubblewrap()
    return Choice([], bubblewrap=True)


def _require_bubblewrap() -> None:
    if not probe("bubblewrap").installed:
        _install_bubblewrap()
    found = probe("bubblewrap")
    if not found.works:
        raise CommandFailed(
            f"bubblewrap does not work here: {found.detail}\n  {mend(found)}; or install docker or podman"
        )


def _install_bubblewrap() -> None:
    apt = ["apt-get", "install", "--yes", "--no-install-recommends", "bubblewrap"]
    by_hand = f"install docker, podman or bubblewrap and try again (on Debian: {' '.join(apt)})"
    if not shutil.which("apt-get"):
        raise CommandFailed(by_hand)
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    if as_root and not shutil.which("sudo"):
        raise CommandFailed(by_hand)
    say("  installing bubblewrap (a Debian package)")
    quiet = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive"]
    code, said = run([*quiet, *apt], timeout_s=_INSTALL_WITHIN_S)
    if code != 0:  # the package lists of a fresh machine are empty or old
        run([*quiet, "apt-get", "update"], timeout_s=_INSTALL_WITHIN_S)
        code, said = run([*quiet, *apt], timeout_s=_INSTALL_WITHIN_S)
    if code != 0:
        raise CommandFailed(f"bubblewrap cannot be installed: {said}\n  {by_hand}")
