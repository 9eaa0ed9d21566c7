"""Measures DataSync beside rclone, s5cmd and the AWS CLI.

python -m benchmarks                 every workload, 5 rounds each
python -m benchmarks W1 W4 -r 3      these, 3 rounds each
python -m benchmarks --quick         a small part, in under 3 minutes
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.compare import Comparison, Result
from benchmarks.light import LightServer
from benchmarks.report import save, table
from benchmarks.workloads import QUICK, WORKLOADS


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("workloads", nargs="*", metavar="W", help="names, such as W1 W4")
    parser.add_argument("-r", "--rounds", type=int, help="counted rounds (default: 5)")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--place", type=Path, default=Path("/dev/shm"), help="where files go")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    wanted = parser.parse_args()
    known = {each.name: each for each in (QUICK if wanted.quick else WORKLOADS)}
    if unknown := set(wanted.workloads) - known.keys():
        parser.error(
            f"no such workload: {', '.join(sorted(unknown))}; there are {', '.join(known)}"
        )
    results: dict[str, list[Result]] = {}
    sections: list[str] = []
    for name in wanted.workloads or known:
        workload, found = known[name], results.setdefault(name, [])
        with tempfile.TemporaryDirectory(prefix="datasync-bench-", dir=wanted.place) as folder:
            light = LightServer(Path(folder))
            comparison = Comparison(workload, light, Path(folder))
            for result in comparison.results(wanted.rounds or workload.rounds):
                found.append(result)
                figure = result.figure
                print(
                    f"{name} {result.contestant:18} round {result.round_number}: "
                    f"{figure.wall:7.2f} s wall {figure.cpu:7.2f} s CPU {figure.peak:6.0f} MB",
                    flush=True,
                )
        sections.append(table(workload, found))
        print("\n" + sections[-1], flush=True)
        save(wanted.out, sections, results)


if __name__ == "__main__":
    main()
