"""Takes our files from their places: to the trash, or aside when a folder needs the name.

A file is renamed, never unlinked, and folders that became empty go with the last of their files.
Knows the disk and paths; whether S3 lost the object is for others to prove.
"""

import os
import stat
from collections.abc import Sequence

from datasync.errors import FileMissing, MirrorError, PathConflict
from datasync.models.sync_models import FileStat
from datasync.services.storage.directories import Directories, kind_of, look, translated
from datasync.services.storage.durability import Durability, error_for
from datasync.services.storage.paths import check_path, conflict_of, path_for, split
from datasync.services.storage.trash import TrashFolder
from datasync.utils.file_utils import DiskCalls

_TRIES = 10


def remove(
    batch: Sequence[FileStat],
    directories: Directories,
    calls: DiskCalls,
    durability: Durability,
    trash: TrashFolder,
) -> list[bool | MirrorError]:
    """For each file: True when it went to the trash, False when it was gone already."""
    results = [_removed(file.path, directories, calls, trash) for file in batch]
    emptied = {
        split(file.path)[0] for file, done in zip(batch, results, strict=True) if done is True
    }
    for folder in sorted(emptied, key=lambda folder: folder.count("/"), reverse=True):
        directories.prune(folder)
    failed = durability.of_folders(directories)
    for index, file in enumerate(batch):
        if results[index] is True:
            results[index] = error_for(file.path, failed) or True
    return results


def relocate(
    key: str, directories: Directories, calls: DiskCalls, durability: Durability
) -> FileStat:
    """Move a key's file aside; calling it again changes nothing.

    Raises: KeyRejected, FileMissing, PathConflict, OSError.
    """
    path, aside = path_for(key), conflict_of(path_for(key))
    (folder, name), other = split(path), split(aside)[1]
    try:
        handle = directories.open(folder)
    except FileNotFoundError:
        raise FileMissing(f"{path!r} is not there") from None
    found = look(name, handle)
    if found is not None and stat.S_ISREG(found.st_mode):
        try:
            calls.rename_new(name, handle, other, handle)
        except FileExistsError:
            raise PathConflict(
                f"{path!r} cannot move aside, {aside!r} is there", at=aside
            ) from None
        directories.touched.add(folder)
    moved = look(other, handle)
    if moved is None or not stat.S_ISREG(moved.st_mode):
        raise FileMissing(f"{path!r} is not there")
    durability.require_folders(directories)
    return FileStat(aside, moved.st_size, moved.st_mtime_ns)


def touch(path: str, mtime: int, directories: Directories) -> FileStat:
    """Set a file's time, in seconds. Raises: FileMissing, PathConflict, MirrorError, OSError."""
    check_path(path)
    folder, name = split(path)
    try:
        handle = directories.open(folder)
        found = look(name, handle)
        if found is None or not stat.S_ISREG(found.st_mode):
            kind = "nothing" if found is None else f"a {kind_of(found.st_mode)}"
            raise FileMissing(f"{path!r} is {kind}, no file")
        os.utime(name, (mtime, mtime), dir_fd=handle, follow_symlinks=False)
        found = os.stat(name, dir_fd=handle, follow_symlinks=False)
    except FileNotFoundError:
        raise FileMissing(f"{path!r} is not there") from None
    return FileStat(path, found.st_size, found.st_mtime_ns)


def _removed(
    path: str, directories: Directories, calls: DiskCalls, trash: TrashFolder
) -> bool | MirrorError:
    try:
        check_path(path)
        return _to_trash(path, directories, calls, trash)
    except PathConflict as conflict:
        if conflict.at is not None and path.startswith(conflict.at + "/"):
            return _gone_under(conflict, directories)
        return conflict
    except MirrorError as error:
        return error
    except OSError as error:
        return translated(error, path)


def _to_trash(path: str, directories: Directories, calls: DiskCalls, trash: TrashFolder) -> bool:
    folder, name = split(path)
    for _ in range(_TRIES):
        try:
            found = look(name, directories.open(folder))
        except FileNotFoundError:
            return False
        if found is None or stat.S_ISDIR(found.st_mode):
            return False
        try:
            _, slot, slot_name = trash.slot(path)
            calls.rename_new(name, directories.open(folder), slot_name, slot)
        except (FileNotFoundError, FileExistsError):
            # The file went, or its place in the trash: another process empties it, or restores
            # from it. A file that is still there must not pass for gone.
            directories.forget_all()
            continue
        directories.touched.add(folder)
        return True
    raise PathConflict(f"{path!r} or its place in the trash keeps changing")


def _gone_under(conflict: PathConflict, directories: Directories) -> bool | MirrorError:
    """Below a plain file there is nothing of ours; behind a link we do not look."""
    try:
        kind = directories.kind(conflict.at or "")
    except (OSError, MirrorError):
        return conflict
    return False if kind == "file" else conflict
