"""A real Slurm of one node: munged, slurmctld and slurmd on free ports, in a folder of its own."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.services.tesp import free_port, poll

CORES = 8
MEMORY_MIB = 16000
KILL_WAIT_S = 4
START_TIMEOUT_S = 30.0
PROGRAMS = ("munged", "slurmctld", "slurmd")
PARTITIONS = """
PartitionName=main Nodes=node Default=YES PriorityTier=1 PreemptMode=OFF
PartitionName=again Nodes=node PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes=node PriorityTier=10 PreemptMode=OFF
"""


class SlurmFailed(Exception):
    """A command of Slurm's says that it failed; the text is what it said."""


class Slurm:
    """`with Slurm() as slurm:`; who has `slurm.environment` can use sbatch and its like.

    The node claims `CORES` cores, whatever the machine has. Cores and memory are what jobs are given; those
    of the partition `urgent` preempt others. `proctrack` is the plugin that says which processes are a job's.
    """

    def __init__(self, *, proctrack: str = "linuxproc") -> None:
        self._proctrack = proctrack
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        # Munge wants every folder above its socket to be safe from others
        self.folder = Path(tempfile.mkdtemp(prefix="tesp-slurm-"))
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        try:
            self._write_config()
            for program in PROGRAMS:
                self.start(program)
            poll(self._is_idle, timeout_s=START_TIMEOUT_S, why="Slurm's node does not come up: " + self.logs)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._remove()

    @property
    def logs(self) -> str:
        """The ends of what the daemons said."""
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{file.name}: {file.read_text(errors='replace')[-1500:]}" for file in files)

    def start(self, program: str) -> None:
        """Start one of `PROGRAMS`; slurmctld knows again the jobs that it had."""
        munge = [f"--{name}={self.folder / f'munge.{name}'}" for name in ("socket", "pid-file", "seed-file")]
        munge += [f"--key-file={self.folder / 'munge.key'}", f"--log-file={self.folder / 'munged.log'}"]
        arguments = {
            "munged": ["--foreground", "--force", *munge],
            "slurmctld": ["-D"],
            "slurmd": ["-D", "-N", "node"],
        }[program]
        with (self.folder / f"{program}.out").open("ab") as out:
            self._processes[program] = subprocess.Popen(
                [f"/usr/sbin/{program}", *arguments],
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        if program == "munged":
            poll((self.folder / "munge.socket").exists, timeout_s=START_TIMEOUT_S, why="munged: " + self.logs)

    def stop(self, program: str) -> None:
        """End one of the daemons; jobs go on."""
        process = self._processes.pop(program)
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def run(self, *argv: str) -> str:
        """What a command of Slurm's prints. Raises: SlurmFailed."""
        done = subprocess.run(
            argv, env=os.environ | self.environment, check=False, capture_output=True, text=True, timeout=60
        )
        if done.returncode:
            raise SlurmFailed(f"{' '.join(argv)}: {done.stderr}")
        return done.stdout

    def jobs(self, *options: str) -> list[str]:
        """The ids of the jobs that have not ended; `options` are squeue's."""
        return self.run("squeue", "--noheader", "--format=%A", *options).split()

    def job_of(self, task_id: str) -> str | None:
        """The id of the newest job that a task's attempt has, or had within the last minutes."""
        listed = self.run("squeue", "--noheader", "--states=all", "--format=%A %j").splitlines()
        return max((line.split()[0] for line in listed if task_id in line), key=int, default=None)

    def job(self, job_id: str) -> Mapping[str, str]:
        """What Slurm knows of a job, also of one that ended within the last minutes."""
        words = self.run("scontrol", "show", "job", job_id).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def end_now(self, job_id: str) -> None:
        """Let the time of a running job be over; Slurm looks for such jobs every half minute."""

        def is_set() -> bool:
            with contextlib.suppress(SlurmFailed):  # a busy controller may not have heard of its start yet
                self.run("scontrol", "update", f"JobId={job_id}", "EndTime=now")
                return True
            return False

        poll(is_set, timeout_s=START_TIMEOUT_S, why=f"job {job_id} has no end: {self.logs}")

    def drain(self) -> None:
        """Let the node take no new jobs."""
        self.run("scontrol", "update", "NodeName=node", "State=DRAIN", "Reason=test")

    def resume(self) -> None:
        """Let it take jobs again. A controller that has just come back refuses, or says so and does it."""

        def takes_jobs() -> bool:
            with contextlib.suppress(SlurmFailed):
                if "DRAIN" not in self.run("scontrol", "show", "node", "node"):
                    return True
                self.run("scontrol", "update", "NodeName=node", "State=RESUME")
            return False

        poll(takes_jobs, timeout_s=START_TIMEOUT_S, why="the node does not resume: " + self.logs)

    def _is_idle(self) -> bool:
        dead = [name for name, process in self._processes.items() if process.poll() is not None]
        assert not dead, f"{dead} ended: {self.logs}"
        try:
            return self.run("sinfo", "--noheader", "--partition=main", "--format=%t").strip() == "idle"
        except SlurmFailed:
            return False

    def _write_config(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        host, settings = socket.gethostname(), self._settings()
        settings += [f"NodeName=node NodeHostname={host} NodeAddr=127.0.0.1 CPUs={CORES}"]
        settings[-1] += f" RealMemory={MEMORY_MIB} TmpDisk=10000 State=UNKNOWN"
        (self.folder / "slurm.conf").write_text("\n".join(settings) + PARTITIONS)
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\n")

    def _settings(self) -> list[str]:
        folder = self.folder
        return [
            "ClusterName=tests",
            f"SlurmctldHost={socket.gethostname()}(127.0.0.1)",
            "SlurmUser=root",
            f"SlurmctldPort={free_port()}",
            f"SlurmdPort={free_port()}",
            f"AuthInfo=socket={folder / 'munge.socket'}",
            f"StateSaveLocation={folder / 'state'}",
            f"SlurmdSpoolDir={folder / 'spool'}",
            f"SlurmctldPidFile={folder / 'slurmctld.pid'}",
            f"SlurmdPidFile={folder / 'slurmd.pid'}",
            f"SlurmctldLogFile={folder / 'slurmctld.log'}",
            f"SlurmdLogFile={folder / 'slurmd.log'}",
            f"ProctrackType=proctrack/{self._proctrack}",
            "TaskPlugin=task/none",
            "JobAcctGatherType=jobacct_gather/none",
            "AccountingStorageType=accounting_storage/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core_Memory",
            "SchedulerParameters=batch_sched_delay=0,bf_interval=1",
            "PreemptType=preempt/partition_prio",
            "PreemptMode=REQUEUE",
            "MpiDefault=none",
            f"KillWait={KILL_WAIT_S}",
            "ReturnToService=2",
            "SlurmdParameters=config_overrides",
        ]

    def _remove(self) -> None:
        if "slurmctld" in self._processes and "slurmd" in self._processes:
            self._end_jobs()
        for program in reversed(PROGRAMS):
            if program in self._processes:
                self.stop(program)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end_jobs(self) -> None:
        deadline = time.monotonic() + KILL_WAIT_S + 10
        try:
            self.run("scancel", "--user=root", "--signal=KILL", "--full")
            self.run("scancel", "--user=root")
            while self.jobs() and time.monotonic() < deadline:
                time.sleep(0.1)
        except (SlurmFailed, subprocess.SubprocessError):
            pass  # slurmd's end leaves them be; the test that left them has failed already
