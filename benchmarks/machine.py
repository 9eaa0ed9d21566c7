"""What it was measured on: the machine, and the version of everything that took part."""

import os
import platform
import subprocess
from pathlib import Path

import psutil

from benchmarks.contestants import BIN, PROJECT, S5CMD

TOLD_SECONDS = 60


def described(memory: Path, disk: Path, aws: Path | None) -> dict[str, str]:
    """`memory` and `disk` are the folders that files went to."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "kernel": platform.release(),
        "files in memory": file_system(memory),
        "files on disk": file_system(disk),
        "python": platform.python_version(),
        "datasync": _commit(),
        "rclone": _told(str(BIN / "rclone"), "version"),
        "s5cmd": _told(S5CMD, "version"),
        "aws": _told(str(aws), "--version") if aws else "took no part",
        "seaweedfs": _told(str(BIN / "weed"), "version"),
    }


def file_system(folder: Path) -> str:
    """The type of the file system that a folder is on, such as ext4."""
    real = folder.resolve()
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    fitting = [(len(at), kind) for _, at, kind, *_ in mounts if real.is_relative_to(at)]
    return max(fitting, default=(0, "unknown"), key=lambda each: each[0])[1]


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def _commit() -> str:
    """The commit that is measured, and whether files differ from it."""
    commit = _told("git", "-C", str(PROJECT), "rev-parse", "--short=10", "HEAD")
    changed = _told("git", "-C", str(PROJECT), "status", "--porcelain", "--", "datasync")
    return f"{commit}, with changes" if changed not in ("", "unknown") else commit


def _told(*command: str) -> str:
    """The first line that a program says; "unknown" when there is none to ask."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=TOLD_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    lines = done.stdout.decode(errors="replace").splitlines()
    return lines[0].strip() if lines else ""
