"""What container runtimes this machine has, found out by asking them."""

import shutil
import subprocess
from dataclasses import dataclass

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

MEND: dict[str, str] = {
    "docker": "start its daemon (systemctl start docker) and join the docker group",
    "podman": "see what `podman info` says",
    "apptainer": "see what `apptainer version` says",
    "singularity": "see what `singularity version` says",
    "bubblewrap": "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1) or run as root",
}


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
