"""Looks at the mirror's directory: whose it is, its disk, and what its file system can do.

Writes only into a probe folder that goes again. Takes no lease and makes no mirror.
"""

import os

from pathlib import Path

from datasync.composition import bucket_identity
from datasync.config.settings import Settings
from datasync.doctor import abilities
from datasync.doctor.disk_rules import Space, judge_inodes, judge_space, judge_times
from datasync.doctor.findings import Finding, failed, passed, skipped, warned
from datasync.doctor.probe import ProbeFolder
from datasync.doctor.settings_checks import nearest_existing
from datasync.errors import MirrorUnavailable
from datasync.services.storage.directories import Directories, translated, translating
from datasync.services.storage.marker import read_marker
from datasync.services.storage.paths import INTERNAL
from datasync.utils.file_utils import DiskCalls, on_one_mount

ADOPT_ADVICE = (
    "Choose another LOCAL_DOWNLOAD_DIR, or make it the mirror of this one: datasync sync --adopt."
)
LOCAL_ADVICE = "Keep the mirror on a local disk with a file system such as ext4 or XFS."
SLOW_FLUSH_SECONDS = 1.0
_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class DiskChecks:
    """Checks of one directory. Each method is one check; `directory` comes first."""

    def __init__(
        self, settings: Settings, probe: ProbeFolder, calls: DiskCalls | None = None
    ) -> None:
        self._settings = settings
        self._root: Path = settings.root
        self._probe = probe
        self._calls = calls or DiskCalls()

    def directory(self) -> Finding:
        """Whether the directory is there, or can be made, and can be written to."""
        is_new = self._probe.open()
        with self._probe.use() as folder, translating(INTERNAL):
            if not abilities.write_and_read(folder):
                return failed("what is written does not come back", LOCAL_ADVICE)
        if is_new:
            return passed(f"{self._root} does not exist yet, and can be made and written to")
        return passed(f"{self._root} can be written to")

    def marker(self) -> Finding:
        """Which bucket the directory mirrors already."""
        try:
            with Directories(os.open(self._root, _ROOT)) as directories:
                found = read_marker(directories)
        except (FileNotFoundError, MirrorUnavailable):
            found = None
        except OSError as error:
            raise translated(error, INTERNAL) from error
        ours = bucket_identity(self._settings)
        if found is None:
            return passed("no mirror yet; the first start makes it one")
        if found.bucket != ours:
            return failed(f"it is the mirror of {found.bucket}, not of {ours}", ADOPT_ADVICE)
        return passed(f"it is the mirror of {ours}")

    def space(self) -> Finding:
        return judge_space(self._space(), self._settings.min_free_disk_percent)

    def inodes(self) -> Finding:
        return judge_inodes(self._space())

    def _space(self) -> Space:
        told = os.statvfs(nearest_existing(self._root))
        total, free = told.f_blocks * told.f_frsize, told.f_bavail * told.f_frsize
        return Space(total, free, told.f_files, told.f_favail)

    def one_disk(self) -> Finding:
        """Files are staged beside the mirror and renamed into it: both must be on one mount."""
        try:
            root = os.open(self._root, _ROOT)
        except OSError as error:
            raise translated(error, INTERNAL) from error
        try:
            with self._probe.use() as folder:
                same = on_one_mount(root, folder)
        finally:
            os.close(root)
        if not same:
            return failed(
                f"{INTERNAL} is another file system than the directory: no file can be moved "
                "from one to the other in one step",
                f"Unmount what is mounted at {self._root / INTERNAL}.",
            )
        return passed(f"the directory and {INTERNAL} are one file system")

    def renaming(self) -> Finding:
        """Whether a file can take another one's place in one step."""
        with self._probe.use() as folder, translating(INTERNAL):
            did = abilities.replace(folder, self._calls)
        if not (did.whole and did.keeps_free):
            return failed("renaming a file over another does not work as it must", LOCAL_ADVICE)
        swaps = "also swaps names" if did.exchanges else "cannot swap names, which is no harm"
        return passed(f"replaces a file in one step; {swaps}")

    def flushing(self) -> Finding:
        """Whether files and folders can be made durable, and how long that takes."""
        if self._settings.durability == "none":
            return skipped("DURABILITY=none: nothing is flushed")
        with self._probe.use() as folder, translating(INTERNAL):
            seconds = abilities.flush(folder, self._calls)
        text = f"flushing a file and its folder takes {seconds * 1000:.0f} ms"
        if seconds > SLOW_FLUSH_SECONDS:
            return warned(text, "Use a faster disk, or DURABILITY=none if the mirror may be lost.")
        return passed(text)

    def locking(self) -> Finding:
        """Whether one process can keep others out, and wake one that waits."""
        with self._probe.use() as folder, translating(INTERNAL):
            if not abilities.lock(folder):
                return failed("locks keep nobody out: two engines could run here", LOCAL_ADVICE)
            try:
                abilities.make_pipe(folder)
            except OSError as error:
                return warned(
                    f"no named pipe can be made ({error.strerror}): events wait for the next look",
                    LOCAL_ADVICE,
                )
        return passed("locks and named pipes work")

    def names(self) -> Finding:
        """Whether keys can be stored under their own names."""
        with self._probe.use() as folder:
            refused = abilities.unstorable_names(folder)
            raw = abilities.takes_any_bytes(folder)
        if refused:
            text = f"names are not kept: {', '.join(refused)}"
            return warned(f"{text}; objects with such keys fail", LOCAL_ADVICE)
        beside = "and even bytes that are not UTF-8" if raw else "but only UTF-8, as keys are"
        return passed(f"every name that a key can have is kept, {beside}")

    def letter_case(self) -> Finding:
        """Whether keys that differ by case only need escaped names."""
        with self._probe.use() as folder, translating(INTERNAL):
            tells = abilities.tells_case(folder)
        if tells:
            return passed("upper and lower case make two names")
        return warned(
            "upper and lower case make one name: the later of two such keys is stored as '%FF=...'",
            "Use a file system that tells them apart if programs look for such files by name.",
        )

    def times(self) -> Finding:
        """How precisely changed files can be told by their time."""
        with self._probe.use() as folder, translating(INTERNAL):
            kept = abilities.keep_time(folder)
        return judge_times(abilities.FILE_TIME_NS, kept)
