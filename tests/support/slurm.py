"""A real Slurm of one node, with its own keys, ports and files, and nothing of /etc/slurm or systemd."""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.support.worker_processes import wait_until

SYSTEM_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"

DAEMONS = {name: shutil.which(name, path=SYSTEM_PATH) for name in ("munged", "slurmctld-wlm", "slurmd-wlm")}

CONFIGURATION = """
ClusterName=hpsearch
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={directory}/munge/socket,cred_expire=5
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.log
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0,sched_min_interval=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=30
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes=ALL State=UP PriorityTier=2 PreemptMode=OFF
"""
"""CPUs are counted, whatever the machine has. A requeued job waits for `cred_expire`, which is 5 seconds at least."""


POLL = 0.25
"""Seconds before a look at the queue: each is a process, and what waits looks again and again."""


@dataclass(frozen=True)
class Slurm:
    """A running Slurm; `environment` is what its commands need."""

    environment: Mapping[str, str]

    def run(self, *command: str) -> str:
        """Return what a command of Slurm prints."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout

    def list_jobs(self) -> dict[str, str]:
        """Return the state of each job that is queued or runs, by its id; an element of an array counts as one."""
        time.sleep(POLL)
        lines = self.run("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def list_queued(self, jobs: Iterable[str]) -> list[str]:
        """Return those of the jobs that wait to run."""
        states = self.list_jobs()
        return [job for job in jobs if states.get(job) == "PENDING"]

    def limit(self, job: str) -> None:
        """Let the time of a running job end in one to two minutes; it is warned within 30 seconds."""
        *hours, minutes, _ = (
            self.run("squeue", "--noheader", "--array", "--format=%M", f"--jobs={job}").strip().split(":")
        )
        elapsed = 60 * sum(map(int, hours)) + int(minutes)
        self.run("scontrol", "update", f"JobId={job}", f"TimeLimit={elapsed + 2}")

    def end_jobs(self) -> None:
        """Kill every job, and wait until each is gone."""
        mine = f"--user={os.geteuid()}"
        self.run("scancel", "--signal=KILL", "--full", mine)
        self.run("scancel", mine)
        wait_until(lambda: not self.list_jobs(), "all jobs are gone")

    def describe(self, job: str) -> dict[str, str]:
        """Return the fields of a job, which may have ended some minutes ago."""
        words = self.run("scontrol", "show", "job", job, "--oneliner").split()
        return {name: value for name, _, value in (word.partition("=") for word in words)}


@contextmanager
def run_slurm(directory: Path, cpus: int) -> Iterator[Slurm]:
    """Run a Slurm in an empty directory, for the block; nothing of it is left.

    Its host has `cpus` CPUs. The partition `high` preempts jobs of `low`, the default one.
    """
    for part in ("munge", "state", "spool"):
        (directory / part).mkdir(mode=0o700)
    processes: list[subprocess.Popen[bytes]] = []
    slurm = Slurm({"SLURM_CONF": str(_write_configuration(directory, cpus))})
    try:
        processes.append(_start_munge(directory / "munge"))
        for daemon in ("slurmctld-wlm", "slurmd-wlm"):
            program = DAEMONS[daemon]
            assert program is not None
            processes.append(_start([program, "-D"], directory, slurm.environment))
        _wait_for_node(slurm, directory)
        yield slurm
    finally:
        _end(slurm, processes, directory)


def _write_configuration(directory: Path, cpus: int) -> Path:
    with socket.socket() as first, socket.socket() as second:
        for free in (first, second):
            free.bind(("127.0.0.1", 0))
        controller_port, node_port = first.getsockname()[1], second.getsockname()[1]
    file = directory / "slurm.conf"
    values = {"host": socket.gethostname().partition(".")[0], "user": pwd.getpwuid(os.geteuid()).pw_name}
    ports = {"controller_port": controller_port, "node_port": node_port}
    file.write_text(CONFIGURATION.format(directory=directory, cpus=cpus, **ports, **values))
    return file


def _start_munge(directory: Path) -> subprocess.Popen[bytes]:
    key = directory / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{option}={directory / file}" for option, file in files.items()]
    program = DAEMONS["munged"]
    assert program is not None
    process = _start([program, "--foreground", "--force", "--num-threads=2", *options], directory, {})
    wait_until((directory / "socket").exists, "munged listens")
    return process


def _start(command: list[str], directory: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with (directory / "output.log").open("a") as output:
        return subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a Ctrl-C at the tests is not for it
        )


def _wait_for_node(slurm: Slurm, directory: Path) -> None:
    def is_idle() -> bool:
        with suppress(subprocess.SubprocessError):
            return "idle" in slurm.run("sinfo", "--noheader", "--format=%T").split()
        return False

    wait_until(is_idle, f"Slurm's node is there; see {directory}")


def _end(slurm: Slurm, processes: list[subprocess.Popen[bytes]], directory: Path) -> None:
    """Kill what runs of it, jobs included."""
    with suppress(subprocess.SubprocessError):
        slurm.run("scancel", "--signal=KILL", "--full", f"--user={os.geteuid()}")
        slurm.run("scancel", f"--user={os.geteuid()}")
    steps = [process for process in psutil.process_iter(["cmdline"]) if _is_step(process, directory)]
    for step in steps:
        for process in (*_list_children(step), step):
            with suppress(psutil.NoSuchProcess):
                process.kill()
    for running in reversed(processes):
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def _list_children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


def _is_step(process: psutil.Process, directory: Path) -> bool:
    """Return whether it is one of this Slurm's processes that run a step of a job."""
    with suppress(psutil.Error):
        return "slurmstepd" in process.name() and process.environ().get("SLURM_CONF", "").startswith(str(directory))
    return False
