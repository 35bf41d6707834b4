"""A real Ceph object gateway over a cluster of one monitor and one store in memory.

It checks signatures, expiry and the conditions of POST policies.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType

from tests.services.pulsar_rest import free_port
from tests.services.s3_servers import S3Place

START_TIMEOUT_S = 90.0
PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
ACCESS_KEY_ID = "AKIATESPTESTS"
SECRET_ACCESS_KEY = "very-secret/key+of-the-tests"


class Radosgw:
    """`with Radosgw() as place:` gives a running gateway.

    Raises:
        RuntimeError: it did not start; the text ends with the tails of its logs.
    """

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._mon_port, self._port = free_port(), free_port()

    def __enter__(self) -> S3Place:
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            raise RuntimeError(f"{', '.join(missing)}: not installed; make test-services does it")
        self.folder = Path(tempfile.mkdtemp(prefix="radosgw-"))
        try:
            self._start()
        except BaseException as error:
            tails = self._tails()
            self.__exit__(None, None, None)
            raise RuntimeError(f"radosgw did not start ({error}); its logs end:\n{tails}") from error
        return S3Place("radosgw", self._port, ACCESS_KEY_ID, SECRET_ACCESS_KEY)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        cluster, store = str(uuid.uuid4()), str(uuid.uuid4())
        for name in ("mon", "osd", "rgw", "run"):
            (self.folder / name).mkdir()
        (self.folder / "ceph.conf").write_text(self._settings(cluster))
        monmap = str(self.folder / "monmap")
        self._run("monmaptool", "--create", "--fsid", cluster, "--addv", "a", self._mon_address, monmap)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self._keep("ceph-mon", "-f", "-i", "a")
        self._run("ceph", "osd", "new", store)
        self._run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", store)
        self._keep("ceph-osd", "-f", "-i", "0")
        keys = ("--access-key", ACCESS_KEY_ID, "--secret-key", SECRET_ACCESS_KEY)
        self._run("radosgw-admin", "user", "create", "--uid=tesp", "--display-name=TESP", *keys)
        front = f"beast endpoint=127.0.0.1:{self._port} tcp_nodelay=1"
        gateway = self._keep("radosgw", "-f", "-n", "client.admin", "--rgw-frontends", front)
        self._wait_for(gateway)

    @property
    def _mon_address(self) -> str:
        return f"[v2:127.0.0.1:{self._mon_port}]"

    def _settings(self, cluster: str) -> str:
        """No authentication inside the cluster: it listens on loopback, and holds nothing but tests."""
        values = {
            "fsid": cluster,
            "mon host": self._mon_address,
            "public addr": "127.0.0.1",
            "cluster addr": "127.0.0.1",
            **{f"auth {who} required": "none" for who in ("cluster", "service", "client")},
            **{f"ms mon {who} mode": "crc" for who in ("cluster", "service", "client")},
            "osd pool default size": "1",
            "osd pool default min size": "1",
            "osd pool default pg num": "1",
            "osd pool default pg autoscale mode": "off",
            "rgw rados pool pg num min": "1",
            "osd crush chooseleaf type": "0",
            "mon allow pool size one": "true",
            "mon max pg per osd": "1000",
            "mon data avail crit": "0",
            "osd objectstore": "memstore",
            "memstore device bytes": str(4 * 1024**3),
            "osd class load list": "*",
            "paxos propose interval": "0.05",
            "paxos min wait": "0.01",
            "mon data": f"{self.folder}/mon",
            "osd data": f"{self.folder}/osd",
            "rgw data": f"{self.folder}/rgw",
            "run dir": f"{self.folder}/run",
            "crash dir": f"{self.folder}/run",
            "admin socket": f"{self.folder}/run/$name.$pid.asok",
            "log file": f"{self.folder}/run/$name.log",
            "mon cluster log file": f"{self.folder}/run/cluster.log",
            **{f"debug {part}": "0/0" for part in ("mon", "osd", "ms", "paxos", "rgw")},
        }
        return "[global]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "CEPH_CONF": str(self.folder / "ceph.conf")}

    def _run(self, *command: str) -> None:
        with (self.folder / "run" / "commands").open("ab") as log:
            subprocess.run(
                command, env=self._environment, stdout=log, stderr=log, timeout=START_TIMEOUT_S, check=True
            )

    def _keep(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / "run" / f"{command[0]}.out").open("ab") as log:
            process = subprocess.Popen(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._processes.append(process)
        return process

    def _wait_for(self, gateway: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port)).close()
                return
            except OSError:
                if gateway.poll() is not None or time.monotonic() > deadline:
                    raise TimeoutError(f"nothing listens on {self._port}") from None
            time.sleep(0.05)

    def _tails(self) -> str:
        logs = [*sorted((self.folder / "run").glob("*.out")), self.folder / "run" / "commands"]
        return "\n".join(
            f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in logs if log.exists()
        )
