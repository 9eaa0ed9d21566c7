"""What others do to the files of a mirror: change, replace and remove them, plant their own."""

import os
import shutil
from pathlib import Path

from tests.engine.model.faulty import ModelWorld
from tests.engine.model.places import Sentinel, Thing, look
from tests.engine.model.reference import Reference


class Meddling:
    """Somebody with a shell in the mirror."""

    world: ModelWorld
    truth: Reference
    sentinel: Sentinel
    _unique: int

    def meddle(self, key: str, how: str) -> None:
        """Somebody changes, touches, removes or replaces the file of a key."""
        for path in self.truth.homes.of(key):
            if Thing("file") != look(self.world.root).get(path, Thing("file")):
                self._meddle(path, how)
                return

    def _meddle(self, path: str, how: str) -> None:
        self._unique += 1
        file, text = self.world.root / path, f"meddled {self._unique}".encode()
        self.truth.changed = True
        if how == "touched":
            os.utime(file, (1, self._unique), follow_symlinks=False)
            return
        if how == "same size" and file.is_file() and not file.is_symlink():
            text = text.ljust(file.stat().st_size)[: file.stat().st_size]
        file.unlink()
        self.truth.planted.pop(path, None)
        if how != "removed":
            self._plant(path, "file" if how in ("changed", "same size") else how, text)

    def plant(self, path: str, how: str) -> None:
        """Somebody puts a file, link, pipe, folder or hard link of his own into the mirror."""
        self._unique += 1
        file = self.world.root / path
        above = [self.world.root / folder for folder in Path(path).parents]
        blocked = any(each.is_symlink() or (each.exists() and not each.is_dir()) for each in above)
        if not blocked and not os.path.lexists(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            self._plant(path, how, f"mine {self._unique}".encode())

    def _plant(self, path: str, how: str, text: bytes) -> None:
        file = self.world.root / path
        if how == "file":
            file.write_bytes(text)
        elif how == "link":
            file.symlink_to(self.sentinel.folder / "file")
        elif how == "folder link":
            file.symlink_to(self.sentinel.folder)
        elif how == "hard link":
            os.link(self.sentinel.folder / "linked", file)
        elif how == "pipe":
            os.mkfifo(file)
        else:
            file.mkdir()
            file, path = file / "mine", f"{path}/mine"
            file.write_bytes(text)
        self.truth.planted[path] = look(self.world.root)[path]
        self.truth.changed = True

    def remove_folder(self, folder: str, leave: str = "nothing") -> None:
        """Somebody removes a whole folder; a link to elsewhere may take its place."""
        place = self.world.root / folder
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
            self.truth.changed = True
            for path in [path for path in self.truth.planted if path.startswith(folder + "/")]:
                del self.truth.planted[path]
            if leave == "link":
                self._plant(folder, "folder link", b"")
