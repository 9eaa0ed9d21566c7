"""Nothing changed: what a reconciliation costs, beside rclone and s5cmd in the same run.

    python -m benchmarks.unchanged --keys 20000 100000

Starts SeaweedFS on loopback, fills a bucket, mirrors it once, gives each tool a copy of what was
mirrored, then measures a run of each in turn: wall seconds, CPU seconds and peak memory of its
process.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import seaweed
from tests.support.s3_server import S3Server

PROJECT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Figure:
    """Wall and CPU in seconds, peak resident memory in MB (10^6 bytes)."""

    wall: float
    cpu: float
    peak: float


def environment(server: S3Server, folder: Path, bucket: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(PROJECT),
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_REGION": server.region,
        "AWS_ENDPOINT_URL_S3": server.endpoint_url,
        "S3_ENDPOINT_URL": server.endpoint_url,
        "S3_BUCKET_NAME": bucket,
        "LOCAL_DOWNLOAD_DIR": str(folder / "datasync"),
        "LOG_FILE": "",
        "LOG_LEVEL": "ERROR",
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_S3_TYPE": "s3",
        "RCLONE_CONFIG_S3_PROVIDER": "SeaweedFS",
        "RCLONE_CONFIG_S3_ENV_AUTH": "true",
        "RCLONE_CONFIG_S3_ENDPOINT": server.endpoint_url,
    }


def commands(folder: Path, bucket: str) -> dict[str, Sequence[str]]:
    tuned = "--transfers 32 --checkers 32 --fast-list --use-server-modtime".split()
    return {
        "datasync sync": [sys.executable, "-m", "datasync", "sync", "--json"],
        "rclone sync, tuned": [
            str(BIN / "rclone"),
            "sync",
            f"s3:{bucket}",
            str(folder / "rclone"),
            *tuned,
        ],
        "s5cmd sync": [
            str(BIN / "s5cmd"),
            "--log",
            "error",
            "sync",
            "--delete",
            f"s3://{bucket}/*",
            str(folder / "s5cmd") + "/",
        ],
    }


def measure(command: Sequence[str], variables: dict[str, str], folder: Path) -> Figure:
    """Run a command to its end.

    The peak is VmHWM of /proc: what wait4 tells would include the memory of this very process,
    which the child shares for an instant before it becomes the command.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started, peak = time.perf_counter(), 0.0
    with open(os.devnull, "wb") as nothing:
        process = subprocess.Popen(command, env=variables, cwd=folder, stdout=nothing)
        while process.poll() is None:
            peak = max(peak, peak_of(process.pid))
            time.sleep(0.01)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Figure(wall, cpu, peak)


def peak_of(pid: int) -> float:
    """The peak resident memory of a process in MB; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if "VmHWM" in line), 0.0)


def fill(server: S3Server, bucket: str, first: int, last: int) -> None:
    """Put the objects there with s5cmd: the fastest way to have many."""
    with tempfile.TemporaryDirectory() as name:
        for number in range(first, last):
            path = Path(name, "data", f"{number // 1000:04}", f"{number:07}.bin")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"%d" % number)
        subprocess.run(
            [str(BIN / "s5cmd"), "--log", "error", "cp", f"{name}/", f"s3://{bucket}/"],
            env=environment(server, Path(name), bucket),
            check=True,
        )


def copy_mirror(folder: Path, name: str) -> None:
    """What DataSync mirrored, dates and all, as if this tool had fetched it."""
    shutil.rmtree(folder / name, ignore_errors=True)
    subprocess.run(["cp", "-a", str(folder / "datasync"), str(folder / name)], check=True)
    shutil.rmtree(folder / name / ".datasync")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "server").mkdir()
        process, server = seaweed.start(folder / "server")
        try:
            compare(server, folder, sorted(wanted.keys), wanted.rounds)
        finally:
            process.stop()


def compare(server: S3Server, folder: Path, sizes: Sequence[int], rounds: int) -> None:
    bucket, filled = server.make_bucket(), 0
    variables, tools = environment(server, folder, bucket), commands(folder, bucket)
    for keys in sizes:
        fill(server, bucket, filled, keys)
        filled = keys
        print(f"\n{keys} keys", flush=True)
        cold = measure(tools["datasync sync"], variables, folder)
        print(f"  {'datasync sync':20} what was new: {cold.wall:7.2f} s wall {cold.cpu:7.2f} s CPU")
        for name in ("rclone", "s5cmd"):
            copy_mirror(folder, name)
        for round_number in range(1, rounds + 1):
            for tool, command in tools.items():
                figure = measure(command, variables, folder)
                print(
                    f"  {tool:20} round {round_number}: {figure.wall:7.2f} s wall "
                    f"{figure.cpu:7.2f} s CPU {figure.peak:7.1f} MB peak",
                    flush=True,
                )


if __name__ == "__main__":
    main()
