"""The mirror's trash as others see it: what is in it, what comes back, what goes for good.

Knows no S3, no ledger and no settings.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import islice

from datasync.services.storage import emptying, trash
from datasync.services.storage.directories import Directories
from datasync.services.storage.durability import Durability
from datasync.services.storage.emptying import Emptied
from datasync.services.storage.trash import TRASH, Restored, TrashEntry, TrashFolder
from datasync.utils.file_utils import DiskCalls


class MirrorTrash:
    """What `Mirror` does with its trash."""

    _calls: DiskCalls
    _clock: Callable[[], float]
    _durability: Durability
    _min_free_percent: float

    def _session(self, what: str) -> AbstractContextManager[Directories]:
        raise NotImplementedError

    def _prepared(self, what: str) -> AbstractContextManager[Directories]:
        raise NotImplementedError

    def trash_entries(
        self, prefix: str = "", after: str = "", limit: int = 1000
    ) -> list[TrashEntry]:
        """What was removed from paths below `prefix`, oldest first; go on `after` the last id.

        Raises: MirrorError.
        """
        with self._session(TRASH) as directories:
            return list(islice(trash.entries(directories, prefix, after), limit))

    def restore(
        self,
        *ids: str,
        prefix: str | None = None,
        wanted: Callable[[TrashEntry], bool] = lambda _: True,
        overwrite: bool = False,
    ) -> list[Restored]:
        """Put entries back to their paths, or the newest `wanted` one of each path below `prefix`.

        What is at the path is kept and the entry stays in the trash, unless `overwrite` says
        that the two change places. Raises: FileMissing (one of the ids is of no entry: nothing
        is put back then), MirrorError.
        """
        if bool(ids) == (prefix is not None):
            raise ValueError("restore takes either ids of entries or a prefix")
        with self._prepared(TRASH) as directories:
            if ids:
                chosen = [trash.find(directories, each) for each in dict.fromkeys(ids)]
            else:
                chosen = trash.newest(filter(wanted, trash.entries(directories, prefix or "", "")))
            replaced = TrashFolder(directories, "replaced", self._clock()) if overwrite else None
            done = [trash.put_back(directories, self._calls, each, replaced) for each in chosen]
            self._durability.require_folders(directories)
            return done

    def prune_trash(
        self, older_than_seconds: float, now: float, stopped: Callable[[], bool] = lambda: False
    ) -> int:
        """Remove for good what was trashed longer ago than that; the number of files.

        Ends early, at any file, once `stopped()` says so. Raises: MirrorError.
        """
        with self._prepared(TRASH) as directories:
            return emptying.prune(directories, now - older_than_seconds, stopped).files

    def shrink_trash(
        self,
        older_than_seconds: float,
        now: float,
        stopped: Callable[[], bool] = lambda: False,
        *,
        max_percent: float | None = None,
    ) -> Emptied:
        """Remove the oldest for good while the trash takes a larger share of the disk than that.

        Also while less is free than downloads want; nothing that was trashed since so long ago.
        Ends early as `prune_trash` does. Raises: MirrorError.
        """
        with self._prepared(TRASH) as directories:
            nbytes = emptying.excess(directories, max_percent, self._min_free_percent)
            return emptying.shrink(directories, now - older_than_seconds, stopped, nbytes)
