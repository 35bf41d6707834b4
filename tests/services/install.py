"""Make the virtual environments of the services: `python -m tests.services.install`.

Pulsar's server (pulsar-app) and its library (pulsar-galaxy-lib) ship the same `pulsar` package, so
the server lives in an environment of its own, outside the one that tests run in.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
REQUIREMENTS = Path(__file__).with_name("pulsar-requirements.txt")
PULSAR_VENV = REPOSITORY / ".venvs" / "pulsar"


def service_python() -> str:
    """The system's interpreter if it is of our version, else our own.

    One below somebody's home directory cannot be started by another user, which one test needs.
    """
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    system = shutil.which(f"python{ours}", path=os.defpath)
    return system or sys.executable


def fingerprint() -> str:
    """What the environment was made from; another value means that it must be made anew."""
    return hashlib.sha256(REQUIREMENTS.read_bytes() + service_python().encode()).hexdigest()


def is_installed(venv: Path = PULSAR_VENV) -> bool:
    stamp = venv / "installed"
    return stamp.is_file() and stamp.read_text() == fingerprint()


def install(venv: Path = PULSAR_VENV) -> None:
    """Bring the environment up to date; does nothing, quickly, if it is.

    Safe to call from several processes at once: the others wait for the first.
    """
    venv.parent.mkdir(parents=True, exist_ok=True)
    with (venv.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_installed(venv):
            return
        # pip is ours, pointed at the new environment: a system Python often comes without ensurepip
        subprocess.run([service_python(), "-m", "venv", "--without-pip", "--clear", str(venv)], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python")]
        pip += ["--quiet", "--disable-pip-version-check", "install", "--only-binary", ":all:"]
        subprocess.run([*pip, "--no-deps", "-r", str(REQUIREMENTS)], check=True)
        (venv / "installed").write_text(fingerprint())


if __name__ == "__main__":
    install()
    print(f"Pulsar is installed in {PULSAR_VENV}")
