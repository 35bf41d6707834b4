"""Make the virtual environments of the services: `python -m tests.services.install`.

Pulsar's server (pulsar-app) and its library (pulsar-galaxy-lib) ship the same `pulsar` package, so
the server lives in an environment of its own, outside the one that tests run in. So do the versions
of py-tes that real clients pin. MongoDB's server comes as a wheel that holds the program; moto's
versions of botocore are no concern of ours. DRMAA's module is only on the path of a Pulsar that needs it.
cwltest judges conformance tests. Playwright, which drives a browser, is on the path of its tests alone.
Snakemake with its TES executor is a client of ours; the engine that runs workflows here has another one.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
VENVS = REPOSITORY / ".venvs"
PULSAR_VENV = VENVS / "pulsar"
PY_TES_04_VENV = VENVS / "py-tes-0.4"
PY_TES_11_VENV = VENVS / "py-tes-1.1"
MONGOD_VENV = VENVS / "mongod"
MOTO_VENV = VENVS / "moto"
DRMAA_VENV = VENVS / "drmaa"
CWLTEST_VENV = VENVS / "cwltest"
BROWSER_VENV = VENVS / "browser"
SNAKEMAKE_TES_VENV = VENVS / "snakemake-tes"
ALL = (
    *(PULSAR_VENV, PY_TES_04_VENV, PY_TES_11_VENV, MONGOD_VENV, MOTO_VENV, DRMAA_VENV, CWLTEST_VENV),
    *(BROWSER_VENV, SNAKEMAKE_TES_VENV),
)


def service_python() -> str:
    """The system's interpreter if it is of our version, else our own.

    One below somebody's home directory cannot be started by another user, which one test needs.
    """
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    system = shutil.which(f"python{ours}", path=os.defpath)
    return system or sys.executable


def requirements(venv: Path) -> Path:
    """What belongs into an environment, by the name of its folder."""
    return Path(__file__).with_name(f"{venv.name}-requirements.txt")


def fingerprint(needed: Path) -> str:
    """What an environment was made from; another value means that it must be made anew."""
    return hashlib.sha256(needed.read_bytes() + service_python().encode()).hexdigest()


def is_installed(venv: Path, needed: Path) -> bool:
    stamp = venv / "installed"
    return stamp.is_file() and stamp.read_text() == fingerprint(needed)


def install(venv: Path = PULSAR_VENV, needed: Path | None = None) -> None:
    """Bring an environment up to date; does nothing, quickly, if it is.

    `needed` is the file of its requirements, unless that goes by the folder's name. Safe to call from
    several processes at once: the others wait for the first.
    """
    needed = needed or requirements(venv)
    venv.parent.mkdir(parents=True, exist_ok=True)
    with (venv.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_installed(venv, needed):
            return
        # pip is ours, pointed at the new environment: a system Python often comes without ensurepip
        subprocess.run([service_python(), "-m", "venv", "--without-pip", "--clear", str(venv)], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python")]
        pip += ["--quiet", "--disable-pip-version-check", "install", "--only-binary", ":all:"]
        subprocess.run([*pip, "--no-deps", "-r", str(needed)], check=True)
        (venv / "installed").write_text(fingerprint(needed))


if __name__ == "__main__":
    for made in ALL:
        install(made)
        print(f"{made.name} is installed in {made}")
    from tests.services.cwl_engine import engines_folder
    from tests.services.snakemake_engine import snakemake_folder

    assert engines_folder() == snakemake_folder()
    print(f"workflow engines are installed in {engines_folder()}")
