"""The trash as people use it: what is in it, what comes back, and what becomes of that next.

Shared by HTTP and CLI. The disk is the only truth of what is in it; the ledger tells which
restored files the next run will touch.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

from datasync.controllers.views import moment
from datasync.errors import RunMissing, UnprocessableRequest
from datasync.models.s3_models import (
    RestoredEntry,
    RestoreReport,
    RestoreRequest,
    TrashedFile,
    TrashPage,
)
from datasync.models.sync_models import State
from datasync.services.file_service import make_token, read_token
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Mirror, Restored, TrashEntry

PAGE = 1000
Chosen = Callable[[TrashEntry], bool]


class TrashDesk:
    """Lists the trash, and brings files back. Safe to use from threads."""

    def __init__(self, mirror: Mirror, ledger: Ledger) -> None:
        self._mirror = mirror
        self._ledger = ledger

    def entries(
        self, prefix: str = "", why: str | None = None, after: str = ""
    ) -> Iterator[TrashEntry]:
        """What was taken from paths below `prefix`, by this label, oldest first.

        Raises: MirrorError, while iterating.
        """
        chosen = labelled(why)
        while page := self._mirror.trash_entries(prefix, after, PAGE):
            yield from filter(chosen, page)
            after = page[-1].id

    def page(self, prefix: str, why: str | None, token: str | None, limit: int) -> TrashPage:
        """Raises: MalformedRequest (token), MirrorError."""
        found = list(islice(self.entries(prefix, why, read_token(token, "")), limit + 1))
        shown = [trashed_file(entry) for entry in found[:limit]]
        more = len(found) > limit
        return TrashPage(files=shown, next_token=make_token(found[limit - 1].id) if more else None)

    def restore(self, asked: RestoreRequest) -> RestoreReport:
        """Raises: UnprocessableRequest, FileMissing (no such entry), MirrorError, LedgerError."""
        if asked.ids:
            done = self.restored(asked.ids, overwrite=asked.overwrite)
        else:
            done = self.restored_where(
                asked.prefix or "", asked.run_id, asked.why, overwrite=asked.overwrite
            )
        touched = self.mirrored(done)
        entries = [restored_entry(item, touched) for item in done]
        count = sum(entry.error is None for entry in entries)
        return RestoreReport(message=f"Restored {count} of {len(entries)} files", restored=entries)

    def restored(self, ids: Sequence[str], *, overwrite: bool) -> list[Restored]:
        """Put entries back to their paths: all, or none where one is not in the trash.

        Raises: FileMissing (no such entry), MirrorError.
        """
        return self._mirror.restore(*ids, overwrite=overwrite)

    def restored_where(
        self, prefix: str, run_id: int | None, why: str | None, *, overwrite: bool
    ) -> list[Restored]:
        """Put back the newest of each path that is meant. Raises: MirrorError, LedgerError."""
        wanted = labelled(why) if run_id is None else self._deleted_by(run_id)
        return self._mirror.restore(prefix=prefix, wanted=wanted, overwrite=overwrite)

    def mirrored(self, done: Sequence[Restored]) -> set[str]:
        """Paths of restored files at which the ledger has an object: a run makes them so again.

        Raises: LedgerError.
        """
        paths = [item.entry.path for item in done if item.error is None]
        rows = self._ledger.get_many(paths)
        return {path for path, row in rows.items() if row.state is not State.REJECTED}

    def _deleted_by(self, run_id: int) -> Chosen:
        """What a run deleted. A ledger that was lost began to count its runs anew: older ones of
        the same number are told apart by the time of the request."""
        with suppress(RunMissing):
            since = int(self._ledger.run(run_id).requested)
            return lambda entry: entry.label == f"run-{run_id}" and entry.trashed_at >= since
        return labelled(f"run-{run_id}")


def labelled(why: str | None) -> Chosen:
    """Whether an entry was taken away by this; by anything for None."""
    return lambda entry: why is None or entry.label == why


def check_request(asked: RestoreRequest) -> RestoreRequest:
    """Raises: UnprocessableRequest for one that says two things, or nothing."""
    chosen = (asked.prefix, asked.run_id, asked.why) != (None, None, None)
    if bool(asked.ids) == chosen or (asked.run_id is not None and asked.why is not None):
        raise UnprocessableRequest(
            "give either ids, or prefix and one of run_id and why",
            hint='Everything in the trash is {"prefix": ""}.',
        )
    return asked


def trashed_file(entry: TrashEntry) -> TrashedFile:
    return TrashedFile(
        id=entry.id,
        path=entry.path,
        size=entry.size,
        trashed_at=moment(entry.trashed_at),
        why=entry.label,
    )


def restored_entry(item: Restored, touched: set[str]) -> RestoredEntry:
    failed = item.error is not None
    return RestoredEntry(
        id=item.entry.id,
        path=item.entry.path,
        error=str(item.error) if failed else None,
        hint=item.error.hint if item.error is not None else "",
        stays=None if failed else item.entry.path not in touched,
    )
