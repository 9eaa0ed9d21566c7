"""The commit stage: disk first, ledger after it, then the word that it is done. One thread.

Whatever has piled up is one group: one round of durability, one ledger transaction. It is the
only writer of mirrored files and of their rows. Knows no network.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from datasync.errors import DataSyncError, Interrupted, MirrorError, PathConflict
from datasync.models.sync_models import Operation, Outcome, RunCounts
from datasync.services.engine import outcomes
from datasync.services.engine.group import Done, Group
from datasync.services.engine.recording import Recorder
from datasync.services.engine.recovery import claims
from datasync.services.engine.settling import Meaning
from datasync.services.engine.spans import EngineSpans, Times
from datasync.services.engine.tasks import Found, Result
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import (
    Mirror,
    Note,
    Publication,
    Published,
    keys_above,
    path_for,
)

GROUP = 1_000
# A group has a price of its own, whatever its size. While bulk work keeps coming, so many results
# are waited for, but never long, and not at all when nothing else is at work, or for an event.
GATHERED = 250
GATHER_SECONDS = 0.25


class Committer(threading.Thread):
    """Takes results in any number from any thread; reports what is settled through `settled`.

    `counts` gives the tallies that are saved with outcomes, by run, as they are with those.
    `at_work` is the number of tasks whose results are here or still to come; where nobody knows,
    because more of them are being found, it is a large one.
    """

    def __init__(
        self,
        mirror: Mirror,
        ledger: Ledger,
        settled: Callable[[Sequence[Done]], None],
        counts: Callable[[Sequence[Outcome]], dict[int, RunCounts]],
        problem: Callable[[Exception], None],
        *,
        at_work: Callable[[], int] = lambda: 0,
        spans: EngineSpans | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(name="commit", daemon=True)
        self._mirror = mirror
        self._meaning = Meaning(mirror)
        self._settled = settled
        self._recorder = Recorder(ledger, counts, problem)
        self._problem = problem
        self._at_work = at_work
        self._spans = spans or EngineSpans()
        self._clock = clock
        self._queue: deque[Result] = deque()
        lock = threading.Lock()
        self._ready = threading.Condition(lock)
        self._taken = threading.Condition(lock)
        self._urgent = False  # a result that waits is that of an event
        self._stopping = False
        self._ended = False
        self._overdue = False  # it was to have ended: nothing more is begun
        self._placed = 0.0  # when the files of the group were in their places

    @property
    def backlog(self) -> int:
        return len(self._queue)

    def wait_below(self, count: int, timeout_seconds: float) -> bool:
        """Whether fewer results than that wait, after waiting that long at most."""
        with self._taken:
            return self._taken.wait_for(lambda: self.backlog < count, timeout_seconds)

    def put(self, results: Sequence[Result]) -> None:
        """Take results over; after the end they are dropped, and nothing of them stays staged."""
        with self._ready:
            if not self._ended:
                first = not self._queue
                self._queue.extend(results)
                self._urgent = self._urgent or any(result.task.urgent for result in results)
                if first or self._is_enough():
                    self._ready.notify()
                return
        _abandoned(results, Interrupted("the commit has ended"))

    def hurry(self) -> None:
        """Somebody waits for a key whose result may be here: gather no longer."""
        with self._ready:
            self._urgent = bool(self._queue)
            self._ready.notify()

    def look(self) -> None:
        """What is at work has changed: perhaps everything is here."""
        with self._ready:
            self._ready.notify()

    def stop(self, timeout_seconds: float) -> None:
        """Commit what has been put, then end; what has not begun after this long is abandoned."""
        with self._ready:
            self._stopping = True
            self._ended = self.ident is None
            self._ready.notify()
        if self.ident is not None:
            self.join(timeout_seconds)
            self._overdue = self.is_alive()

    def wait(self) -> None:
        """Return when nothing is written any more."""
        if self.ident is not None:
            self.join()

    def run(self) -> None:
        while self._is_done_with(self._next()):  # nothing of a group is kept while it waits
            pass
        self._recorder.settle_up(self._clock())

    def _is_done_with(self, batch: Sequence[Result]) -> bool:
        """Commit a group and tell what became of it; False for none, which is the end."""
        if not batch:
            return False
        began = self._placed = self._clock()
        try:
            if self._overdue:
                raise Interrupted("the commit has ended")
            done = self._commit(batch)
        except Exception as error:  # the edge of this thread: tell, keep what is on disk
            done = _abandoned(batch, error)
        # Before a run can hear that this was its last group, and end.
        self._spans.committed(batch, done, Times(began, self._placed, self._clock()))
        try:
            self._settled(done)
        except Exception as error:  # nothing that hears of it may stop the commit
            self._problem(error)
        return True

    def _next(self) -> list[Result]:
        with self._ready:
            while not self._queue and not self._stopping:
                self._ready.wait()
            self._ready.wait_for(self._is_enough, GATHER_SECONDS)
            self._ended = not self._queue
            self._taken.notify_all()
            batch = [self._queue.popleft() for _ in range(min(GROUP, len(self._queue)))]
            self._urgent = self._urgent and bool(self._queue)
            return batch

    def _is_enough(self) -> bool:
        if self._urgent or self._stopping:
            return True
        return len(self._queue) >= min(GATHERED, self._at_work())

    def _commit(self, batch: Sequence[Result]) -> list[Done]:
        keys = [result.task.key for result in batch]
        group = Group(self._clock(), self._recorder.rows(keys))
        staged = [result for result in batch if result.found is Found.STAGED]
        try:
            self._publish(group, staged)
        finally:  # whatever becomes of the rest of them
            self._recorder.owe(group.kept)
        self._remove(group, [result for result in batch if result.found is Found.MISSING])
        for result in batch:
            self._meaning.other(group, result)
        if any(result.found is Found.ADOPTED for result in batch):
            self._mirror.sync()  # files we did not write may not be on the disk yet
        self._placed = self._clock()
        done = self._recorder.record(group)
        if self._recorder.settled:
            with suppress(MirrorError):  # what stays tells of files that have their rows: no harm
                self._mirror.notes.forget()
        return done

    # Disk

    def _publish(self, group: Group, results: Sequence[Result]) -> None:
        waiting = [result for result in results if not outcomes.is_marker(result)]
        conflicts = self._publish_round(group, waiting)
        while conflicts:  # each round frees at least one level of folders, or is the last
            self._make_way(group, conflicts)
            stuck = len(conflicts)
            conflicts = self._publish_round(group, [result for result, _ in conflicts])
            if len(conflicts) == stuck:
                break
        for result, conflict in conflicts:
            self._meaning.failed(group, result, conflict)
        for result in results:
            if outcomes.is_marker(result):
                self._marked_folder(group, result)

    def _publish_round(
        self, group: Group, results: Sequence[Result]
    ) -> list[tuple[Result, PathConflict]]:
        """Publish what can be; what a file of the name of a folder keeps out comes back."""
        batch = [self._publication(group, result) for result in results]
        answers: Sequence[Published | MirrorError]
        try:
            self._mirror.notes.add([_note(*pair) for pair in zip(results, batch, strict=True)])
            answers = self._mirror.publish(batch)
        except MirrorError as error:
            answers = [error] * len(batch)
        conflicts = []
        failed = []
        for result, published in zip(results, answers, strict=True):
            if isinstance(published, Published):
                self._meaning.downloaded(group, result, published)
            elif isinstance(published, PathConflict) and published.at is not None:
                conflicts.append((result, published))
            else:
                failed.append((result, published))
        self._claim(group, [result for result, _ in failed])
        for result, refused in failed:
            self._meaning.failed(group, result, refused)
        return conflicts

    def _claim(self, group: Group, failed: Sequence[Result]) -> None:
        """Files that are in their places, with names that may not be on stable storage, are ours.

        Without a row nobody would remove them with their objects.
        """
        placed = [result for result in failed if result.staged is not None and result.staged.gone]
        if not placed:
            return
        notes = [_note(result, self._publication(group, result)) for result in placed]
        with suppress(MirrorError):
            for row in claims(self._mirror, notes, group.rows).values():
                group.moved(row)

    def _publication(self, group: Group, result: Result) -> Publication:
        assert result.staged is not None
        held = outcomes.held_file(group.rows.get(result.task.key))
        return Publication(result.task.key, result.staged, outcomes.last_modified(result), held)

    def _make_way(self, group: Group, conflicts: Sequence[tuple[Result, PathConflict]]) -> None:
        """Our own file `a` becomes `%FF=a` beside the folder that `a/b` needs.

        Also a file that somebody changed: its row does not match it there either: it is repaired.
        """
        wanted = {conflict.at: result.task.key for result, conflict in conflicts}
        for path, key in wanted.items():
            above = next((name for name in keys_above(key) if path_for(name) == path), None)
            if above is None:
                continue
            row = group.kept.get(above) or self._recorder.rows([above]).get(above)
            file = outcomes.held_file(row)
            if row is None or file is None or file.path != path:
                continue
            with suppress(MirrorError):  # the conflict then shows when publishing again
                note = Note(row.key, row.etag, file.size, file.mtime_ns)
                self._mirror.notes.add([note])
                group.moved(replace(row, path=self._mirror.relocate(row.key).path))

    def _remove(self, group: Group, results: Sequence[Result]) -> None:
        by_label: dict[str, list[Result]] = {}
        for result in results:
            if outcomes.held_file(group.rows.get(result.task.key)) is None:
                self._meaning.nothing_held(group, result)
            else:
                label = "events" if result.task.run_id is None else f"run-{result.task.run_id}"
                by_label.setdefault(label, []).append(result)
        for label, labelled in by_label.items():
            self._trash(group, labelled, label)

    def _trash(self, group: Group, results: Sequence[Result], label: str) -> None:
        files = [outcomes.held_file(group.rows[result.task.key]) for result in results]
        answers = self._mirror.remove([file for file in files if file is not None], label=label)
        for result, answer in zip(results, answers, strict=True):
            if isinstance(answer, DataSyncError):
                self._meaning.failed(group, result, answer)
            else:
                if answer and not result.task.approved:
                    group.unapproved.append(result.task.key)
                message = "Deleted, moved to trash" if answer else "Deleted, was already gone"
                self._meaning.success(group, result, None, Operation.DELETE, message)

    def _marked_folder(self, group: Group, result: Result) -> None:
        assert result.staged is not None
        result.staged.discard()
        held = outcomes.held_file(group.rows.get(result.task.key))
        answer = self._mirror.remove([held], label="replaced")[0] if held is not None else True
        if isinstance(answer, DataSyncError):
            self._meaning.failed(group, result, answer)
        else:
            row = outcomes.synced_row(result, None, group.now)
            self._meaning.success(group, result, row, Operation.SKIP, "Folder marker recorded")


def _abandoned(batch: Sequence[Result], error: Exception) -> list[Done]:
    for result in batch:
        if result.staged is not None:
            result.staged.discard()
    return [Done(result.task, None, None, error) for result in batch]


def _note(result: Result, item: Publication) -> Note:
    assert result.head is not None
    return Note(item.key, result.head.etag, item.staged.size, item.mtime * 10**9)
