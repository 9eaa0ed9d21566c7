"""Finds the files that were placed, and of which the ledger has no word: the process did not
live to record them, or it is not known whether their names are on stable storage.

Without this, such a file would be nobody's: if its object goes before the next look at it, no
row would ever have it removed. Knows no bucket and no network.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from datasync.models.sync_models import FileStat, ObjectRow, Settlement, State
from datasync.services.engine.outcomes import held_file
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Mirror, Note, conflict_path_for, path_for

_UNPROVED = 0  # no file's own time: one that is ours, but not proved, must not pass for intact
_REASON = "placed, and not recorded; the next look at it proves it"


def recover(mirror: Mirror, ledger: Ledger) -> None:
    """Give the files that were noted and never recorded their rows.

    Raises: MirrorError, LedgerError.
    """
    notes = mirror.notes.left()
    known = ledger.get_many(list({note.key for note in notes}))
    claimed = claims(mirror, notes, known)
    if claimed:
        ledger.settle(Settlement(rows=tuple(claimed.values())))


def claims(
    mirror: Mirror, notes: Sequence[Note], known: Mapping[str, ObjectRow]
) -> dict[str, ObjectRow]:
    """For each noted file that is in its place, and that no row of these says is ours, a new row.

    Raises: MirrorError.
    """
    claimed: dict[str, ObjectRow] = {}
    usual = mirror.stat_many([path_for(note.key) for note in notes])
    aside = mirror.stat_many([conflict_path_for(note.key) for note in notes])
    for note, *found in zip(notes, usual, aside, strict=True):
        file = _noted_file(note, found)
        if file is not None:
            row = _claim(note, file, known.get(note.key))
            if row is not None:
                claimed[note.key] = row
    return claimed


def _noted_file(note: Note, found: Iterable[object]) -> FileStat | None:
    files = [file for file in found if isinstance(file, FileStat)]
    wanted = (note.size, note.mtime_ns)
    return next((file for file in files if (file.size, file.mtime_ns) == wanted), None)


def _claim(note: Note, file: FileStat, row: ObjectRow | None) -> ObjectRow | None:
    """The row that says the file is ours; None when the one that is there says so."""
    held = held_file(row)
    if row is not None and held is not None:
        if held.path == file.path:
            if row.etag == note.etag or held != file:
                return None
            # As long and as old as the noted one: nobody knows which of the two it is.
            return replace(row, state=State.FAILED, mtime_ns=_UNPROVED, reason=_REASON)
        if row.etag == note.etag and replace(held, path=file.path) == file:
            return replace(row, path=file.path)  # it only moved aside
    return ObjectRow(
        key=note.key,
        etag=note.etag,
        size=note.size,
        last_modified=note.mtime_ns // 10**9,
        state=State.FAILED,
        path=file.path,
        local_size=file.size,
        mtime_ns=_UNPROVED,
        reason=_REASON,
    )
