"""Where a workload has its files, and what becomes of those that were looked at.

A disk that has just lost many files is slow to make new ones, for minutes: ext4 gives no number of
a lost file out again so soon, and looks at every one of them anew for each file that is made. So
nothing is removed from a disk while the benchmark goes on: used files lose their bytes and stay.
"""

import itertools
import os
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Site:
    """`folder` is this measurement's; `attic`, on the same disk, is kept for the whole benchmark.

    Without one, as in memory, used folders are removed at once.
    """

    folder: Path
    attic: Path | None = None
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count, repr=False)

    def close(self) -> None:
        """Put away all that is left."""
        for each in self.folder.iterdir():
            if each.is_dir():
                self.put_away(each)

    def put_away(self, used: Path) -> None:
        """Make room for a fresh folder of this name."""
        if self.attic is None:
            shutil.rmtree(used)
            return
        for place, _, names in os.walk(used):
            for path in (f"{place}/{name}" for name in names):
                if stat.S_ISREG(os.lstat(path).st_mode):
                    os.truncate(path, 0)
        used.rename(self.attic / f"{self.folder.name}-{next(self._numbers)}")
