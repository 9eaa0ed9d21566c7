"""Measures DataSync beside rclone, s5cmd and the AWS CLI, and its service beside the bare minimum.

python -m benchmarks                       everything: hours
python -m benchmarks W1 W4 -r 3            these workloads, 3 rounds each
python -m benchmarks --server seaweed      only beside this server
python -m benchmarks --quick               a small part, in less than 3 minutes
python -m benchmarks --resume FOLDER       go on with a run that was interrupted
"""

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks import aws_cli, burst, idle, single
from benchmarks.compare import Comparison, Serving
from benchmarks.figures import Result
from benchmarks.goals import judge
from benchmarks.light import LightServer, Pool
from benchmarks.machine import described, file_system
from benchmarks.realistic import RealisticServer
from benchmarks.record import Record, Section
from benchmarks.report import report, table
from benchmarks.site import Site
from benchmarks.workloads import QUICK, WORKLOADS, Setting, Workload

SERVERS = ("light", "seaweed")
PLACES = ("memory", "disk")
IN_MEMORY = ("tmpfs", "ramfs")
SERVICE: dict[str, Callable[[Workload, Serving, Site, int], Iterator[Result]]] = {
    "single": single.results,
    "burst": burst.results,
    "idle": idle.results,
}


def main() -> None:
    wanted = _arguments()
    record = _record(wanted)
    bench = Bench(record, wanted.memory, wanted.disk, wanted.rounds, _aws(record, wanted))
    known = bench.known
    if unknown := set(wanted.workloads) - known.keys():
        raise SystemExit(
            f"no such workload: {', '.join(sorted(unknown))}; there are {', '.join(known)}"
        )
    print(f"Results go to {record.folder}; if it is interrupted, --resume goes on with them.")
    chosen = [known[name] for name in wanted.workloads or known]
    try:
        with bench:
            for workload, setting in settings(chosen, wanted.server, wanted.place):
                bench.measure(workload, setting)
    except KeyboardInterrupt:
        raise SystemExit(f"Interrupted. Go on with: --resume {record.folder}") from None
    print(f"\n{report(record).split('## Figures')[0]}Results: {record.folder}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("workloads", nargs="*", metavar="W", help="names, such as W1 W4")
    parser.add_argument("-r", "--rounds", type=int, help="counted rounds (default: 5)")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--resume", type=Path, metavar="FOLDER", help="of an earlier run")
    parser.add_argument("--server", choices=SERVERS, help="only this one")
    parser.add_argument("--place", choices=PLACES, help="only files there")
    parser.add_argument("--no-aws", action="store_true", help="leave the AWS CLI out")
    parser.add_argument("--memory", type=Path, default=Path("/dev/shm"), help="a tmpfs")
    parser.add_argument("--disk", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    return parser.parse_args()


def _record(wanted: argparse.Namespace) -> Record:
    """A new one, or that of the run that goes on."""
    if wanted.resume is None:
        kind = "quick" if wanted.quick else "full"
        return Record.new(wanted.out, kind, {}, datetime.now(UTC))
    try:
        return Record.load(wanted.resume)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"{wanted.resume} holds no results that can be resumed: {error}") from None


def _aws(record: Record, wanted: argparse.Namespace) -> Path | None:
    """The AWS CLI; without it the benchmark goes on and says so. Fills in the machine, too."""
    program = None
    if record.kind == "full" and not wanted.no_aws:
        try:
            program = aws_cli.installed()
        except aws_cli.NoAwsCli as error:
            record.note(f"The AWS CLI could not be installed and took no part: {error}")
    machine = described(wanted.memory, wanted.disk, program)
    if wanted.resume is None:
        record.machine = machine
    else:
        record.go_on(machine, datetime.now(UTC))
    return program


def settings(
    workloads: Sequence[Workload], server: str | None, place: str | None
) -> Iterator[tuple[Workload, Setting]]:
    """Each workload in each of its settings that is asked for."""
    for workload in workloads:
        for setting in workload.settings:
            if server in (None, setting.server) and place in (None, setting.place):
                yield workload, setting


@dataclass
class Bench:
    """Measures one workload after the other into a record, which is saved all along."""

    record: Record
    memory: Path
    disk: Path
    rounds: int | None
    aws: Path | None
    pool: Pool = field(default_factory=Pool)
    _attics: dict[Path, Path] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what was put away."""
        self._open.close()

    @property
    def known(self) -> dict[str, Workload]:
        """The workloads of this kind of run, by name."""
        chosen = QUICK if self.record.kind == "quick" else WORKLOADS
        return {each.name: each for each in chosen}

    def measure(self, workload: Workload, setting: Setting) -> None:
        """All rounds, unless they are in the record already, or there is no room for it."""
        if self.record.is_measured(workload.name, setting.server, setting.place):
            return
        place = self.memory if setting.place == "memory" else self.disk
        section = Section(
            *(workload.name, setting.server, setting.place, workload.text),
            ours=workload.ours,
            metrics=workload.metrics,
        )
        self.record.sections.append(section)
        began = time.monotonic()
        if wants := shortage(place, workload.room_gb, workload.room_files):
            section.notes.append(f"Left out: {wants}")
        else:
            free = psutil.virtual_memory().available / 1e9
            fed, starved = workload.fed(free)
            section.notes += [
                f"{name} took no part: it needs about {workload.hungry_gb[name]:g} GB of memory, "
                f"and {free:.0f} GB were free."
                for name in starved
            ]
            self._fill(section, fed, setting, place)
        section.complete = True
        section.seconds = time.monotonic() - began
        self._save()
        print("\n" + table(section), flush=True)

    def _fill(self, section: Section, workload: Workload, setting: Setting, place: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="datasync-bench-", dir=place) as name:
            site = Site(Path(name), self._attic(place))
            server = self._serving(workload, setting, site)
            rounds = self.rounds or workload.rounds
            try:
                for result in self._results(workload, server, site, rounds):
                    section.results.append(result)
                    print(_told(section, result), flush=True)
                    self._save()
            finally:
                server.close()
                site.close()

    def _results(
        self, workload: Workload, server: Serving, site: Site, rounds: int
    ) -> Iterator[Result]:
        if workload.way in SERVICE:
            return SERVICE[workload.way](workload, server, site, rounds)
        aws = self.aws if server.dated else None  # the slowest, for an hour more
        return Comparison(workload, server, site, aws).results(rounds)

    def _serving(self, workload: Workload, setting: Setting, site: Site) -> Serving:
        """The server of a setting, not yet started."""
        if setting.server == "light":
            return LightServer(site.folder, self.pool, workload.delay_ms)
        return RealisticServer(site, self.pool)

    def _attic(self, place: Path) -> Path | None:
        """Where used files stay until the end; none in memory, where there is no need for it."""
        if file_system(place) in IN_MEMORY:
            return None
        if place not in self._attics:
            attic = tempfile.TemporaryDirectory(prefix="datasync-bench-attic-", dir=place)
            self._attics[place] = Path(self._open.enter_context(attic))
        return self._attics[place]

    def _save(self) -> None:
        for section in self.record.sections:
            if workload := self.known.get(section.workload):
                others = self.record.others(section)
                section.verdicts = judge(workload.goals, section.results, others)
        self.record.save()
        (self.record.folder / "results.md").write_text(report(self.record))


def shortage(place: Path, wanted_gb: float, wanted_files: int) -> str:
    """What lacks for a workload in a folder, in words; empty when there is room."""
    free = shutil.disk_usage(place).free / 1e9
    if file_system(place) in IN_MEMORY:
        free = min(free, psutil.virtual_memory().available / 1e9)
    if free < wanted_gb:
        return f"{place} needs {wanted_gb:.0f} GB of room and has {free:.0f} GB."
    names = os.statvfs(place)
    if names.f_files and names.f_favail < wanted_files:  # 0: there is no limit
        return f"{place} needs room for {wanted_files} files and has it for {names.f_favail}."
    return ""


def _told(section: Section, result: Result) -> str:
    figures = [
        f"{metric.title} {result.values[metric.name]:.{metric.digits}f}"
        for metric in section.metrics
        if metric.name in result.values
    ]
    name = f"{section.workload} {result.contestant:20} round {result.round_number}"
    return f"{name}: {', '.join(figures)}"


if __name__ == "__main__":
    main()
