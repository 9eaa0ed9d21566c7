"""Makes a batch durable: a few files one by one, many with one call for the whole file system."""

from collections.abc import Sequence
from pathlib import Path

from datasync.errors import MirrorError, PathConflict
from datasync.services.storage.directories import Directories, translated
from datasync.services.storage.staged_file import StagedFile
from datasync.services.storage.staging import Staging
from datasync.utils.file_utils import DiskCalls, sync_folder_at

# On a quiet ext4, syncfs is ahead from two files on (0.27 ms against 0.36; 32 files: 0.7 against
# 4.1). It also waits for what other programs wrote, so a few files are not made to wait for that.
FEW = 4


class Durability:
    """The two rounds of a batch: its files before their renames, its folders after them."""

    def __init__(self, calls: DiskCalls, *, enabled: bool) -> None:
        self._calls = calls
        self._enabled = enabled

    def of_files(self, staging: Staging, files: Sequence[StagedFile]) -> list[MirrorError | None]:
        """Make staged files durable; for each the error that kept it from being so."""
        if not self._enabled or not files:
            return [None] * len(files)
        if len(files) > FEW:
            try:
                if staging.sync_all():
                    return [None] * len(files)
            except OSError as error:
                return [translated(error, "the file system")] * len(files)
        return [_synced(file) for file in files]

    def of_folders(self, directories: Directories) -> dict[str, MirrorError]:
        """Make the touched folders durable; those that could not be, with the error."""
        touched, directories.touched = directories.touched, set()
        if not self._enabled or not touched:
            return {}
        if len(touched) > FEW:
            try:
                if self._calls.sync_file_system(directories.root):
                    return {}
            except OSError as error:
                return dict.fromkeys(touched, translated(error, "the file system"))
        failed: dict[str, MirrorError] = {}
        for folder in touched:
            try:
                self._calls.sync(directories.open(folder))
            except (FileNotFoundError, PathConflict):
                continue  # gone or moved since, and what we put into it went with it
            except OSError as error:
                failed[folder] = translated(error, folder)
        return failed

    def of_new_folders(self, made: Sequence[Path]) -> None:
        """Make durable that these folders are there, by those that hold them. Raises: OSError."""
        for folder in made if self._enabled else ():
            sync_folder_at(folder.parent, self._calls)

    def require_folders(self, directories: Directories) -> None:
        """Make the touched folders durable. Raises: MirrorError, for the first that is not."""
        for failure in self.of_folders(directories).values():
            raise failure


def error_for(path: str, failed: dict[str, MirrorError]) -> MirrorError | None:
    """The error of a folder that a file's own durability hangs on."""
    if not failed:
        return None
    return next((failed[folder] for folder in failed if _is_above(folder, path)), None)


def _is_above(folder: str, path: str) -> bool:
    return not folder or path.startswith(folder + "/")


def _synced(file: StagedFile) -> MirrorError | None:
    try:
        file.sync()
    except MirrorError as error:
        return error
    except OSError as error:
        return translated(error, "a staged file")
    return None
