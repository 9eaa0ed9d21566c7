"""Compares a listing with the ledger and the disk, page by page, in flat memory.

Reads only: dry runs use it as it is. The order of the listing is checked, not assumed.
"""

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import attrgetter
from queue import Empty, Full, Queue
from random import random
from typing import TypeVar

from datasync.errors import BucketError, Interrupted
from datasync.models.entries import are_in_order, versions, without_problem
from datasync.models.sync_models import (
    Action,
    FileStat,
    ListedObject,
    ObjectRow,
    Operation,
    State,
    SyncOptions,
)
from datasync.services.engine import planner
from datasync.services.engine.levels import pause_seconds
from datasync.services.engine.outcomes import held_file
from datasync.services.engine.planner import OnDisk, Pair
from datasync.services.storage.bucket import Bucket
from datasync.services.storage.ledger import Ledger, Stretch
from datasync.services.storage.mirror import Mirror, conflict_path_for, path_for

ROWS = 1_000
WAIT_SECONDS = 0.25
T = TypeVar("T")
Found = FileStat | object | None


class _Disorder(Exception):
    """The listing is not in key order: it has to be sorted before it can be compared."""


@dataclass(frozen=True, slots=True)
class Step:
    """What one stretch of the listing needs, and how many keys were looked at for it.

    `files` are stat results for the paths of the actions' keys, where something was found.
    `again`: the steps so far compared an unordered listing and do not count, all of them follow.
    """

    actions: Sequence[Action]
    files: dict[str, FileStat]
    listed: int
    unchanged: int
    again: bool = False


@dataclass(slots=True)
class Scan:
    """One comparison of everything below `prefix`; iterate `steps()` once, to its end.

    With `verify`, files that look right are proved again: they come out as adoptions. With
    `sort`, the listing is sorted in any case, so that no step is ever taken back.
    `interrupted()` is asked now and then while a page is awaited.
    """

    bucket: Bucket
    ledger: Ledger
    mirror: Mirror
    options: SyncOptions
    prefix: str
    verify: bool = False
    sort: bool = False
    interrupted: Callable[[], bool] = lambda: False
    listed: int = 0
    _rejected: set[str] = field(default_factory=set)

    def steps(self) -> Iterator[Step]:
        """Raises: BucketError when the listing fails; nothing was proved then. LedgerError."""
        if self.sort:
            yield from self._sorted_first()
            return
        try:
            pages = (page for _, page in self._pages(going_on=True))
            yield from self._ordered(self._checked(pages))
        except _Disorder:
            self.listed = 0
            self._rejected.clear()
            yield Step((), {}, 0, 0, again=True)
            yield from self._sorted_first()

    # The listing

    def _pages(self, *, going_on: bool) -> Iterator[tuple[bool, Sequence[ListedObject]]]:
        """Every page, and whether a listing begins with it; one that fails for now is repeated.

        It goes on behind the last key; without `going_on` it begins anew, and the pages that
        came before do not count. Only a page that brings it further is progress: one without a
        key may come for ever.

        Raises: BucketError, when it keeps failing.
        """
        after, failures = "", 0
        while True:
            try:
                for number, page in enumerate(self.bucket.list(self.prefix, after)):
                    if going_on and (last := _last_key(page.objects, after)) != after:
                        after, failures = last, 0
                    yield number == 0, page.objects
                return
            except BucketError as error:
                failures += 1
                if not error.retryable or failures >= self.options.attempts:
                    raise
                time.sleep(pause_seconds(error, failures, random()))

    def _checked(self, pages: Iterator[Sequence[ListedObject]]) -> Iterator[Sequence[ListedObject]]:
        last = ""
        for page in pages:
            legal = without_problem(page)
            if len(legal) != len(page):
                yield [item for item in page if item.problem is not None]
            if not are_in_order(legal, last):
                raise _Disorder
            if legal:
                last = legal[-1].key
            yield legal

    def _sorted_first(self) -> Iterator[Step]:
        """An unordered listing is read whole and sorted on disk, then compared."""
        with self.ledger.spool() as spool:
            for begins, page in ahead(self._pages(going_on=False), self.interrupted):
                if begins:
                    spool.clear()
                spool.add(page)
            yield from self._ordered(self._checked(iter(spool.pages())))

    # The comparison

    def _ordered(self, pages: Iterator[Sequence[ListedObject]]) -> Iterator[Step]:
        after = ""
        for page in ahead(pages, self.interrupted):
            if page and page[0].problem is not None:
                yield self._refused(page)
            elif page:
                yield from self._step(page, after, page[-1].key)
                after = page[-1].key
        yield from self._step((), after, None)
        yield from self._no_longer_refused()

    def _step(
        self, page: Sequence[ListedObject], after: str, through: str | None
    ) -> Iterator[Step]:
        """Compare a page with the ledger's rows of the same stretch of keys."""
        stretch = self._stretch(after, through)
        while len(stretch) > ROWS:  # many rows between two listed keys: take them in pieces
            stretch = stretch.first(ROWS)
            upto = stretch.last_key
            count = bisect_right(page, upto, key=attrgetter("key"))
            yield self._compare(page[:count], stretch)
            page = page[count:]
            stretch = self._stretch(upto, through)
        yield self._compare(page, stretch)

    def _stretch(self, after: str, through: str | None) -> Stretch:
        """One more than is compared at once, to see whether that is all."""
        return self.ledger.stretch(self.prefix, after, through, ROWS + 1)

    def _compare(self, page: Sequence[ListedObject], stretch: Stretch) -> Step:
        listed = len(page)
        page, differing = self._differing(page, stretch)
        ours = [row for row in differing if row.state is not State.REJECTED]
        pairs = list(planner.pair(page, ours))
        found = self._look(pairs)
        actions, files = [], {}
        for item, state in zip(pairs, found, strict=True):
            disk = _on_disk(item, state)
            action = planner.decide(item, disk, self.options)
            if action is None and self.verify and item.row is not None and item.row.path:
                action = Action(Operation.ADOPT, item.row.key, "verify", item.listed, item.row)
            if action is not None:
                actions.append(action)
                if isinstance(state, FileStat):
                    files[action.key] = state
        self.listed += listed
        deletes = sum(action.operation is Operation.DELETE for action in actions)
        return Step(actions, files, listed, listed - len(actions) + deletes)

    def _differing(
        self, page: Sequence[ListedObject], stretch: Stretch
    ) -> tuple[Sequence[ListedObject], list[ObjectRow]]:
        """Listed objects and rows without the keys that are as they were.

        Nearly all are: their listing, row and file say the same, by which `decide` wants nothing.
        To find them nothing is built, a key costs its lstat and little else.
        """
        intact: set[bytes] = set()
        if len(stretch) and self.options.skip_existing and not self.verify:
            listed = versions(page)
            files = stretch.files(set(listed))
            intact.update(compress(files, self.mirror.are_unchanged(files.values())))
            if len(intact) == len(page) == len(stretch):
                return (), []
            left = [number for number, version in enumerate(listed) if version[0] not in intact]
            page = [page[number] for number in left]
        rows = self.ledger.get_many(stretch.keys(without=intact))
        return page, [rows[key] for key in sorted(rows)]

    def _look(self, pairs: Sequence[Pair]) -> list[Found]:
        """What is on disk for each pair; nothing is looked at for keys S3 no longer lists."""
        paths = [_path(item) for item in pairs]
        wanted = [path for path in paths if path is not None]
        stats = iter(self.mirror.stat_many(wanted))
        found: list[Found] = [None if path is None else next(stats) for path in paths]
        for index, (item, state) in enumerate(zip(pairs, found, strict=True)):
            if state is not None and not isinstance(state, FileStat) and item.row is None:
                assert item.listed is not None
                other = conflict_path_for(item.listed.key)
                found[index] = self.mirror.stat_many([other])[0]
        return found

    # Keys that cannot be mirrored: few, and reported under an escaped name out of order

    def _refused(self, page: Sequence[ListedObject]) -> Step:
        rows = self.ledger.get_many([item.key for item in page])
        self._rejected.update(item.key for item in page)
        decided = [
            planner.decide(Pair(item, rows.get(item.key)), OnDisk.ABSENT, self.options)
            for item in page
            if not _is_another(rows.get(item.key))
        ]
        actions = [action for action in decided if action is not None]
        self.listed += len(page)
        return Step(actions, {}, len(page), len(page) - len(actions))

    def _no_longer_refused(self) -> Iterator[Step]:
        after = ""
        while rows := self.ledger.rows(
            self.prefix, after=after, limit=ROWS, states=[State.REJECTED]
        ):
            after = rows[-1].key
            gone = [row for row in rows if row.key not in self._rejected]
            actions = [
                Action(Operation.DELETE, row.key, "no longer in the bucket", None, row)
                for row in gone
            ]
            yield Step(actions, {}, 0, 0)


def _last_key(page: Sequence[ListedObject], before: str) -> str:
    """The key behind which a listing goes on after this page."""
    return next((item.key for item in reversed(page) if not item.problem), before)


def _path(item: Pair) -> str | None:
    listed, row = item.listed, item.row
    if listed is None:
        return None
    if row is not None and row.path is not None:
        return row.path
    return None if planner.is_marker(listed) else path_for(listed.key)


def _is_another(row: ObjectRow | None) -> bool:
    """Whether a legal key happens to be called what a refused one is reported as: it counts."""
    return row is not None and row.state is not State.REJECTED


def _on_disk(item: Pair, found: Found) -> OnDisk:
    if found is None:
        return OnDisk.ABSENT
    held = held_file(item.row)
    if not isinstance(found, FileStat):
        return OnDisk.CHANGED if held is not None else OnDisk.ABSENT
    if held is None or found == held:
        return OnDisk.INTACT if held is not None else OnDisk.TOUCHED
    if item.listed is not None and item.row is not None and found.size == item.listed.size:
        if not planner.same_version(item.listed, item.row):
            return OnDisk.AHEAD
    return OnDisk.TOUCHED if found.size == held.size else OnDisk.CHANGED


class _Failure:
    """An error on its way from the thread that met it to the one that waits."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def ahead(items: Iterator[T], interrupted: Callable[[], bool] = lambda: False) -> Iterator[T]:
    """The same items, the next one being fetched while the present one is worked on.

    The thread is a daemon and is left behind when the consumer ends early: a server that does
    not answer must not keep the service from stopping.

    Raises: Interrupted, about half a second after `interrupted()` says so.
    """
    ready: Queue[T | _Failure | None] = Queue(maxsize=1)
    over = threading.Event()

    def hand_over(item: T | _Failure | None) -> None:
        while not over.is_set():
            try:
                ready.put(item, timeout=WAIT_SECONDS)
                return
            except Full:
                continue

    def fetch() -> None:
        try:
            for item in items:
                hand_over(item)
                if over.is_set():
                    return
            hand_over(None)
        except Exception as error:  # raised again where somebody waits for it
            hand_over(_Failure(error))

    threading.Thread(target=fetch, name="listing", daemon=True).start()
    try:
        while (item := _next(ready, interrupted)) is not None:
            yield item
    finally:
        over.set()


def _next(ready: "Queue[T | _Failure | None]", interrupted: Callable[[], bool]) -> T | None:
    while True:
        try:
            item = ready.get(timeout=WAIT_SECONDS)
        except Empty:
            if interrupted():
                raise Interrupted("the listing was stopped") from None
            continue
        if isinstance(item, _Failure):
            raise item.error
        return item
