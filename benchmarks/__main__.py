"""Measures DataSync beside rclone, s5cmd and the AWS CLI.

python -m benchmarks                       everything: hours
python -m benchmarks W1 W4 -r 3            these workloads, 3 rounds each
python -m benchmarks --server seaweed      only beside this server
python -m benchmarks --quick               a small part, in about 5 minutes
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.compare import Comparison, Result, Serving
from benchmarks.light import LightServer, Pool
from benchmarks.realistic import RealisticServer
from benchmarks.report import save, table
from benchmarks.workloads import QUICK, WORKLOADS, Setting, Workload

SERVERS = ("light", "seaweed")
PLACES = ("memory", "disk")


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("workloads", nargs="*", metavar="W", help="names, such as W1 W4")
    parser.add_argument("-r", "--rounds", type=int, help="counted rounds (default: 5)")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--server", choices=SERVERS, help="only this one")
    parser.add_argument("--place", choices=PLACES, help="only files there")
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="a tmpfs")
    parser.add_argument("--disk", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    wanted = parser.parse_args()
    known = {each.name: each for each in (QUICK if wanted.quick else WORKLOADS)}
    if unknown := set(wanted.workloads) - known.keys():
        parser.error(
            f"no such workload: {', '.join(sorted(unknown))}; there are {', '.join(known)}"
        )
    chosen = [known[name] for name in wanted.workloads or known]
    folders = {"memory": wanted.memory, "disk": wanted.disk}
    results: dict[str, list[Result]] = {}
    sections: list[str] = []
    for workload, setting in settings(chosen, wanted.server, wanted.place):
        name = f"{workload.name}, {setting}"
        found = results[name] = list(
            measured(workload, setting, folders[setting.place], wanted.rounds or workload.rounds)
        )
        sections.append(table(workload, setting, found))
        print("\n" + sections[-1], flush=True)
        save(wanted.out, sections, results)


def settings(
    workloads: Sequence[Workload], server: str | None, place: str | None
) -> Iterator[tuple[Workload, Setting]]:
    """Each workload in each of its settings that is asked for."""
    for workload in workloads:
        for setting in workload.settings:
            if server in (None, setting.server) and place in (None, setting.place):
                yield workload, setting


def measured(workload: Workload, setting: Setting, place: Path, rounds: int) -> Iterator[Result]:
    """Every counted run, told as it ends."""
    with tempfile.TemporaryDirectory(prefix="datasync-bench-", dir=place) as name:
        folder = Path(name)
        server = serving(workload, setting, folder)
        try:
            for result in Comparison(workload, server, folder).results(rounds):
                figure = result.figure
                print(
                    f"{workload.name} {result.contestant:18} round {result.round_number}: "
                    f"{figure.wall:7.2f} s wall {figure.cpu:7.2f} s CPU {figure.peak:6.0f} MB",
                    flush=True,
                )
                yield result
        finally:
            server.close()


def serving(workload: Workload, setting: Setting, folder: Path) -> Serving:
    """The server of a setting, not yet started."""
    if setting.server == "light":
        return LightServer(folder, Pool(), workload.delay_ms)
    return RealisticServer(folder, Pool())


if __name__ == "__main__":
    main()
