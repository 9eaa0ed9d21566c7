"""Runs a program to its end and says what it took: time, processor, memory."""

import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

LOOK_SECONDS = 0.01


@dataclass(frozen=True)
class Figure:
    """Wall and CPU (user + system) in seconds, peak resident memory in MB (10^6 bytes).

    `server` is what the S3 server spent on it, CPU seconds.
    """

    wall: float
    cpu: float
    peak: float
    server: float = 0.0


def measure(
    command: Sequence[str], variables: Mapping[str, str], folder: Path, server_pid: int
) -> Figure:
    """Run a command to its end. Raises: SystemExit with its words when it fails.

    The peak is VmHWM of /proc: what wait4 tells would include the memory of this very process,
    which the child shares for an instant before it becomes the command.
    """
    server = psutil.Process(server_pid)
    before, served = resource.getrusage(resource.RUSAGE_CHILDREN), _cpu(server)
    started, peak = time.perf_counter(), 0.0
    with open(folder / "said", "w+b") as said:
        process = subprocess.Popen(command, env=variables, cwd=folder, stdout=said, stderr=said)
        while process.poll() is None:
            peak = max(peak, peak_of(process.pid))
            time.sleep(LOOK_SECONDS)
        wall = time.perf_counter() - started
        if process.returncode != 0:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)} failed: {said.read()[-2000:].decode()}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Figure(wall, cpu, peak, _cpu(server) - served)


def peak_of(pid: int) -> float:
    """The peak resident memory of a process in MB; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if "VmHWM" in line), 0.0)


def _cpu(process: psutil.Process) -> float:
    spent = process.cpu_times()
    return float(spent.user + spent.system)
