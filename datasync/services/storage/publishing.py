"""Gives staged files their names: durable files -> atomic replace -> durable folders.

Nothing that is not ours is ever lost: it goes to the trash. One item's failure is its own.
Knows the disk and paths; no network, no ledger.
"""

import errno
import os
import stat
from collections.abc import Sequence

from datasync.errors import KeyRejected, MirrorError, PathConflict
from datasync.models.sync_models import FileStat
from datasync.models.values import value
from datasync.services.storage.directories import Directories, look, translated
from datasync.services.storage.durability import Durability, error_for
from datasync.services.storage.letter_case import LetterCase
from datasync.services.storage.paths import (
    check_path,
    conflict_name,
    conflict_of,
    path_for,
    split,
)
from datasync.services.storage.placing import Spot, displace
from datasync.services.storage.staged_file import StagedFile
from datasync.services.storage.staging import Staging
from datasync.services.storage.trash import TRASH, TrashFolder
from datasync.utils.file_utils import DiskCalls

_LOOKS = 8  # how often a target may change under us before it is called a conflict


@value(frozen=True, slots=True)
class Publication:
    """A staged file and the key it is for.

    `mtime` is in seconds. `held` is our own file of this key as the ledger knows it, if there is
    one: its path is used again.
    """

    key: str
    staged: StagedFile
    mtime: int
    held: FileStat | None = None


@value(frozen=True, slots=True)
class Published:
    """The file as it is now. `trashed`: something that was not ours went to the trash first."""

    file: FileStat
    trashed: bool


class Publisher:
    """Publishes one batch."""

    def __init__(
        self,
        directories: Directories,
        staging: Staging,
        durability: Durability,
        trash: TrashFolder,
        letter_case: LetterCase | None,
    ) -> None:
        self._directories = directories
        self._staging = staging
        self._calls: DiskCalls = staging.calls
        self._durability = durability
        self._trash = trash
        self._letter_case = letter_case

    def publish(self, batch: Sequence[Publication]) -> list[Published | MirrorError]:
        """One entry per item, in order."""
        finished = [_finished(item) for item in batch]
        good = [i for i, status in enumerate(finished) if not isinstance(status, MirrorError)]
        errors = self._durability.of_files(self._staging, [batch[i].staged for i in good])
        for index, error in zip(good, errors, strict=True):
            finished[index] = error or finished[index]
        placed = [self._placed(*pair) for pair in zip(batch, finished, strict=True)]
        failed = self._durability.of_folders(self._directories)
        return [_confirmed(result, failed) for result in placed]

    def _placed(
        self, item: Publication, status: os.stat_result | MirrorError
    ) -> Published | MirrorError:
        if isinstance(status, MirrorError):
            return status
        if not item.staged.intact:
            return MirrorError(f"{item.key!r}: a write error was reported, its bytes may be lost")
        try:
            path, trashed = self._place_new(item) or self._place(item)
        except MirrorError as error:
            return error
        except KeyRejected as error:
            return MirrorError(str(error), hint=error.hint)
        except OSError as error:
            path = path_for(item.key) if item.held is None else item.held.path
            return translated(error, path)
        return Published(FileStat(path, status.st_size, status.st_mtime_ns), trashed)

    def _place_new(self, item: Publication) -> tuple[str, bool] | None:
        """The one step that a file takes whose name is free; None when there is more to it."""
        if item.held is not None or self._letter_case is not None:
            return None
        path = path_for(item.key)
        folder, _, name = path.rpartition("/")
        source = item.staged.staging.folder
        try:
            handle = self._directories.open(folder, create=True)
            if look(conflict_name(name).encode(), handle) is not None:
                return None
            self._directories.touched.add(folder)
            self._calls.rename_new(item.staged.name, source, name.encode(), handle)
        except (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        item.staged.published()
        return path, False

    def _place(self, item: Publication) -> tuple[str, bool]:
        """Compare and swap: others may make and remove files and folders at any moment."""
        for _ in range(_LOOKS):
            try:
                path, found = self._home(item)
                trashed = self._put(item, path, found)
            except (FileExistsError, FileNotFoundError, IsADirectoryError, NotADirectoryError):
                if look(item.staged.name, item.staged.staging.folder) is None:
                    raise MirrorError(f"{item.key!r}: the staged file is gone") from None
                self._directories.forget_all()
            else:
                item.staged.published()
                return path, trashed
        raise PathConflict(f"what is at {item.key!r} keeps changing")

    def _home(self, item: Publication) -> tuple[str, os.stat_result | None]:
        """Where the key's file belongs, and what is there now."""
        if item.held is not None:
            held = self._look(item.held.path, create=False)
            if held is not None and not stat.S_ISDIR(held.st_mode):
                return item.held.path, held
        path = path_for(item.key)
        if self._letter_case is not None:
            path = self._letter_case.distinct(path)
        found, aside = self._look(path, create=True), conflict_of(path)
        other = self._look(aside, create=True)
        if other is not None and stat.S_ISREG(other.st_mode):
            return aside, other  # moved there before, whether or not the ledger remembers
        if found is None or not stat.S_ISDIR(found.st_mode):
            return path, found
        if other is not None and stat.S_ISDIR(other.st_mode):
            raise PathConflict(f"{path!r} and {aside!r} are both folders", at=aside)
        return aside, other

    def _look(self, path: str, *, create: bool) -> os.stat_result | None:
        check_path(path)
        folder, name = split(path)
        try:
            return look(name, self._directories.open(folder, create=create))
        except FileNotFoundError:
            if create:
                raise
            return None

    def _put(self, item: Publication, path: str, found: os.stat_result | None) -> bool:
        folder, name = split(path)
        source = Spot(item.staged.name, item.staged.staging.folder)
        target = Spot(name, self._directories.open(folder))
        self._directories.touched.add(folder)
        if found is None:
            self._calls.rename_new(*source, *target)
            return False
        if _is_held(item.held, path, found):
            self._calls.replace(*source, *target)
            return False
        _, handle, slot_name = self._trash.slot(path)
        target = Spot(name, self._directories.open(folder))
        displace(self._calls, source, target, Spot(slot_name, handle))
        return True


def _finished(item: Publication) -> os.stat_result | MirrorError:
    """Close a staged file and give it its time; what it is then, or what is wrong with it."""
    staged = item.staged
    staged.seal()
    folder = staged.staging.folder
    try:
        if staged.mtime != item.mtime:
            found = look(staged.name, folder)
            if found is not None and not staged.is_ours(found):
                return _swapped(item)
            times = (item.mtime, item.mtime)
            os.utime(staged.name, times, dir_fd=folder, follow_symlinks=False)
        status = os.stat(staged.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return MirrorError(f"{item.key!r}: the staged file is gone")
    except (OSError, OverflowError) as error:
        failure = error if isinstance(error, OSError) else OSError(errno.EOVERFLOW, "")
        return translated(failure, f"the staged file of {item.key!r}")
    return status if staged.is_ours(status) and status.st_size == staged.size else _swapped(item)


def _swapped(item: Publication) -> MirrorError:
    return MirrorError(f"{item.key!r}: the staged file is not the one that was written")


def _is_held(held: FileStat | None, path: str, found: os.stat_result) -> bool:
    return (
        held is not None
        and stat.S_ISREG(found.st_mode)
        and held == FileStat(path, found.st_size, found.st_mtime_ns)
    )


def _confirmed(
    result: Published | MirrorError, failed: dict[str, MirrorError]
) -> Published | MirrorError:
    if isinstance(result, MirrorError) or not failed:
        return result
    in_trash = (error for folder, error in failed.items() if folder.startswith(TRASH))
    lost = next(in_trash, None) if result.trashed else None
    return error_for(result.file.path, failed) or lost or result
