"""Runs a workload with every contestant in turn, and looks at what each of them wrote."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from benchmarks.contestants import Contestant, contestants
from benchmarks.figures import Result
from benchmarks.files import check, write
from benchmarks.light import BUCKET, Item, Pool
from benchmarks.measure import measure
from benchmarks.site import Site
from benchmarks.workloads import Workload
from tests.support.s3_server import S3Server

SEED = "seed"


class Serving(Protocol):
    """A kind of server, at one address for all rounds."""

    pool: Pool
    dated: bool  # whether objects have the dates of their items

    def serving(self, items: Sequence[Item]) -> AbstractContextManager[S3Server]:
        """The server with these objects, and no others, in its bucket."""

    def close(self) -> None:
        """Stop what still runs."""


def turned(contestants: Sequence[Contestant], number: int) -> list[Contestant]:
    """The order of a round: the same circle, begun with another one each time."""
    first = number % len(contestants)
    return [*contestants[first:], *contestants[:first]]


class Comparison:
    """One workload on one server, at one site. `aws`: the AWS CLI, if there is one."""

    def __init__(self, workload: Workload, server: Serving, site: Site, aws: Path | None) -> None:
        self._workload = workload
        self._server = server
        self._site = site
        self._place = site.folder
        self.contestants = [
            each
            for each in contestants(
                fresh=workload.fresh, large=workload.large, aws=aws, variables=workload.variables
            )
            if workload.takes(each.name)
        ]
        self._used: Path | None = None

    def results(self, rounds: int) -> Iterator[Result]:
        """A warm-up that does not count, then so many rounds: A B C, B C A, C A B ..."""
        for number in range(0 if self._workload.warm_up else 1, rounds + 1):
            for result in self._round(number):
                if number:
                    yield result

    def _round(self, number: int) -> Iterator[Result]:
        items = self._workload.items(number)
        with self._server.serving(items) as server:
            if number == 0 and self._workload.seeded and self._server.dated:
                self._seed(items)
            for each in turned(self.contestants, number):
                if self._workload.has_turn(each.name, number):
                    yield self.run(each, number, items, server)

    def run(
        self, contestant: Contestant, number: int, items: Sequence[Item], server: S3Server
    ) -> Result:
        folder = contestant.folder(self._place)
        self._make_room()
        os.sync()  # nobody pays for what another left to be written
        command = contestant.command(BUCKET, self._place)
        variables = contestant.environment(server, BUCKET, self._place)
        values = measure(command, variables, self._place, server.pid)
        check(contestant.name, folder, items, self._server.pool)
        if self._workload.fresh:
            self._used = folder
        return Result(contestant.name, number, values)

    def _make_room(self) -> None:
        """Put away what the one before wrote only now, so that all begin right after as much memory
        became free: a virtual machine may return what is free to its host within a second, and it
        takes long to get it back."""
        if self._used is not None:
            self._site.put_away(self._used)
            self._used = None

    def _seed(self, items: Sequence[Item]) -> None:
        """Give everybody's folder the bucket's files, dated as there, before the warm-up.

        Where nothing changes they are links to the same files: a million small ones for each
        would not fit into memory. Nobody has a reason to write into one, and all bytes are looked
        at after each run.
        """
        seed = self._place / SEED
        write(seed, items, self._server.pool)
        copy = shutil.copy2 if self._workload.changes else os.link
        for each in self.contestants:
            shutil.copytree(seed, each.folder(self._place), copy_function=copy)
        if self._workload.changes:
            self._site.put_away(seed)
        else:
            shutil.rmtree(seed)  # names only: the files have others
