"""What programs take: time, processor, memory, with all the processes that they start."""

import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

LOOK_SECONDS = 0.01
FAMILY_LOOKS = 10  # so seldom it is asked for new children: that costs more than a look


def measure(
    command: Sequence[str], variables: Mapping[str, str], folder: Path, server_pid: int
) -> dict[str, float]:
    """Run a command to its end. Raises: SystemExit with its words when it fails.

    Wall, CPU (user + system) and the CPU that the server spent on it, in seconds; peak resident
    memory in MB (10^6 bytes).
    """
    server = psutil.Process(server_pid)
    before, served = resource.getrusage(resource.RUSAGE_CHILDREN), cpu_of([server])
    started, memory = time.perf_counter(), Memory()
    with open(folder / "said", "w+b") as said:
        process = subprocess.Popen(command, env=variables, cwd=folder, stdout=said, stderr=said)
        try:
            while process.poll() is None:
                memory.look(process.pid)
                time.sleep(LOOK_SECONDS)
        finally:
            process.kill()  # does nothing to one that has ended
        wall = time.perf_counter() - started
        if process.returncode != 0:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)} failed: {said.read()[-2000:].decode()}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "wall": wall,
        "cpu": cpu,
        "peak": memory.peak,
        "server": cpu_of([server]) - served,
    }


class Memory:
    """The peak memory of a process and its children, looked at again and again.

    It is VmHWM of /proc: what wait4 tells would include the memory of this very process, which
    the child shares for an instant before it becomes the command. Of several processes the peaks
    are added, as if they had come at one time and nothing were shared: never too little.
    """

    def __init__(self) -> None:
        self._peaks: dict[int, float] = {}
        self._looks = 0

    @property
    def peak(self) -> float:
        return sum(self._peaks.values())

    def look(self, pid: int) -> None:
        self._peaks.setdefault(pid, 0.0)
        if self._looks % FAMILY_LOOKS == 0:
            for child in children(pid):
                self._peaks.setdefault(child, 0.0)
        self._looks += 1
        for each, known in self._peaks.items():
            self._peaks[each] = max(known, _peak(each))


def children(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    found = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (thread / "children").read_text().split()]
    return found + [below for child in found for below in children(child)]


def _peak(pid: int) -> float:
    """The peak resident memory of a process in MB; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if "VmHWM" in line), 0.0)


def cpu_of(processes: Sequence[psutil.Process]) -> float:
    """CPU seconds that living processes have spent, user + system, and their children before."""
    spent = [process.cpu_times() for process in processes]
    own = sum(each.user + each.system for each in spent)
    return float(own + sum(each.children_user + each.children_system for each in spent))
