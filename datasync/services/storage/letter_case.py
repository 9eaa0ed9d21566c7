"""Names on a file system that takes `A` and `a` for the same name.

Two keys that differ only so need two names: the later one gets the `%FF=` form of the segment
that collides. One object lives as long as one batch. Knows no keys.
"""

import re
import unicodedata

from datasync.errors import PathConflict
from datasync.services.storage.directories import Directories
from datasync.services.storage.paths import conflict_name, join

# What ext4 overlooks in a folder with case folding: Default_Ignorable_Code_Point of Unicode's
# DerivedCoreProperties.txt. Two names that no file system confuses only look as if they met.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


class LetterCase:
    """Finds the path that is distinct, letter by letter, from what is on disk."""

    def __init__(self, directories: Directories) -> None:
        self._directories = directories
        self._names: dict[str, dict[str, str]] = {}  # folder -> folded name -> name on disk

    def distinct(self, path: str) -> str:
        """The path itself, with `%FF=` names where only another spelling is on disk.

        The names of a path are taken from then on. Raises: PathConflict, OSError.
        """
        folder = ""
        for segment in path.split("/"):
            folder = join(folder, self._free_name(folder, segment))
        return folder

    def _free_name(self, folder: str, name: str) -> str:
        names = self._names_in(folder)
        for candidate in (name, conflict_name(name)):
            if names.setdefault(_folded(candidate), candidate) == candidate:
                return candidate
        raise PathConflict(
            f"{join(folder, name)!r} differs from other names only by upper and lower case",
            at=join(folder, names[_folded(name)]),
            hint="This file system cannot tell these names apart; rename the object in S3.",
        )

    def _names_in(self, folder: str) -> dict[str, str]:
        known = self._names.get(folder)
        if known is None:
            known = self._names[folder] = {}
            try:
                names = self._directories.names(folder)
            except FileNotFoundError:
                names = []
            for raw in names:
                name = raw.decode(errors="surrogateescape")
                known[_folded(name)] = name
        return known


def _folded(name: str) -> str:
    name = _INVISIBLE.sub("", name)
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
