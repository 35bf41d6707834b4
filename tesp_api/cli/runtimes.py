"""What container runtimes this machine has, found out by asking them."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_ANSWER_WITHIN_S = 15

_PROBES: dict[str, list[str]] = {
    "docker": ["docker", "version", "--format", "{{.Server.Version}}"],
    "podman": ["podman", "version", "--format", "{{.Version}}"],
    "apptainer": ["apptainer", "--version"],
    "singularity": ["singularity", "--version"],
    # The version alone proves nothing: making namespaces may be forbidden here.
    "bubblewrap": [
        "bwrap",
        *("--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev"),
        *("bwrap", "--version"),
    ],
}

_MEND: dict[str, str] = {
    "docker": "start its daemon (systemctl start docker) and join the docker group",
    "podman": "see what `podman info` says",
    "apptainer": "see what `apptainer version` says",
    "singularity": "see what `singularity version` says",
    "bubblewrap": "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1) or run as root",
}
_MEND_AGE = (
    "install a newer docker client, or let the daemon take it (DOCKER_MIN_API_VERSION in its environment)"
)
_MEND_APPARMOR = (
    "AppArmor keeps user namespaces from ordinary users here, as on Ubuntu from 24.04 on: load a profile for "
    "bwrap (docs/troubleshooting.md has one), or sysctl kernel.apparmor_restrict_unprivileged_userns=0"
)
_APPARMOR_SWITCH = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")


@dataclass(frozen=True, slots=True)
class Probe:
    """What a runtime said: `detail` is its version if it `works`, else why it does not."""

    runtime: str
    installed: bool
    works: bool
    detail: str


def probe(runtime: str) -> Probe:
    """Ask a runtime for a sign of life."""
    argv = _PROBES[runtime]
    if not shutil.which(argv[0]):
        return Probe(runtime, installed=False, works=False, detail="not installed")
    code, said = run(argv, timeout_s=_ANSWER_WITHIN_S)
    last = said.splitlines()[-1] if said else f"exit code {code}"
    return Probe(runtime, installed=True, works=code == 0, detail=last)


def mend(found: Probe) -> str:
    """How to make a runtime work that does not, by what it said."""
    if found.runtime == "docker" and "is too old" in found.detail:
        return _MEND_AGE
    if found.runtime == "bubblewrap" and _apparmor_forbids():
        return _MEND_APPARMOR
    return _MEND[found.runtime]


def _apparmor_forbids() -> bool:
    try:
        return _APPARMOR_SWITCH.read_text().strip() != "0"
    except OSError:
        return False


def can_run(engine: str, image: str, *, pull_within_s: float) -> tuple[bool, str]:
    """Whether docker or podman really runs the image, fetched in that time if need be; and what it said."""
    here = run([engine, "image", "inspect", image], timeout_s=_ANSWER_WITHIN_S)[0] == 0
    if not here:
        code, said = run([engine, "pull", "--quiet", image], timeout_s=pull_within_s)
        if code != 0:
            return False, said.splitlines()[-1] if said else f"no image after {pull_within_s:g} s"
    # Where an engine answers, a container may still fail to start (nested containers, limits).
    code, said = run([engine, "run", "--rm", "--network", "none", image, "true"], timeout_s=_ANSWER_WITHIN_S)
    if code != 0:
        return False, said.splitlines()[-1] if said else f"its container ends with {code}"
    return True, "it has the image" if here else "it fetched the image"


def run(argv: list[str], *, timeout_s: float) -> tuple[int, str]:
    """Exit code and what was said, on stderr in the case of a failure; 124 if the time was up."""
    try:
        ended = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return 124, f"no answer within {timeout_s:g} s"
    except OSError as error:
        return 127, error.strerror or str(error)
    return ended.returncode, (ended.stdout if ended.returncode == 0 else ended.stderr).strip()


def main() -> int:
    """0 if any works here, and says nothing then; else what to do about those that are installed."""
    probes = [probe(runtime) for runtime in _PROBES]
    if any(one.works for one in probes):
        return 0
    for one in probes:
        if one.installed:
            print(f"warning: {one.runtime} does not work here: {one.detail}\n  {mend(one)}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
