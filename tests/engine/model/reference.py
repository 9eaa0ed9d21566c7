"""What must be true of a mirror, told without looking into the engine.

Remembers every version the bucket had, what others put into the mirror and which events were
accepted, and compares what it sees before and after each step of the engine with DESIGN
section 1. Of the ledger it believes nothing but which keys are marked and which files it claims.
"""

from collections.abc import Sequence

from datasync.models.sync_models import ObjectRow, State
from tests.engine.model.faulty import MAX_BYTES, ModelWorld, Said
from tests.engine.model.places import Homes, Sentinel, Thing, look, trash
from tests.support.fake_objects import FakeObject

MARKED, MISSING = "marked", "ObjectMissing"
_ANSWERS = ("there", MISSING, "ObjectArchived")


class Reference:
    """The history of one world, and its rules."""

    def __init__(self, world: ModelWorld, sentinel: Sentinel, homes: Homes) -> None:
        self.world = world
        self.homes = homes
        self.versions: dict[str, set[bytes]] = {}
        self.planted: dict[str, Thing] = {}  # what others put there, by path
        self.accepted: dict[str, bool] = {}  # marked keys: whether S3 answered for them since
        self.changed = False  # since the last run over everything began
        self._sentinel = sentinel
        self._before: dict[str, Thing] = {}

    def begin(self) -> None:
        """The engine is about to do something."""
        self.world.bucket.said()  # nothing may be left over from before
        self._before = look(self.world.root)

    def end(self, *, compared: bool = False) -> None:
        """The engine has done it: what changed since `begin` must have been right to change.

        `compared`: a run over everything came to its end.
        """
        said, after = self._heard(), look(self.world.root)
        for path, thing in self._before.items():
            if after.get(path) != thing:
                self._gone(path, thing, after, said)
        for path, thing in after.items():
            if self._before.get(path) != thing and self.planted.get(path) != thing:
                self._came(path, thing)
        self._adopted(after)
        self._check_marks(compared)
        self.check_state()

    def check_state(self) -> None:
        """What must be true at any moment."""
        self._sentinel.check()
        if self.world.in_sync:
            assert not self.accepted, "in sync with accepted events to work off"
            wrong = [] if self.changed else self.differences()
            assert wrong == [], f"in sync and not equal: {wrong}"

    # What changed

    def _heard(self) -> list[Said]:
        said = self.world.bucket.said()
        for key, what in said:
            if what == MARKED:
                self.accepted[key] = False
            elif what in _ANSWERS and key in self.accepted:
                self.accepted[key] = True
        return said

    def _gone(self, path: str, thing: Thing, after: dict[str, Thing], said: Sequence[Said]) -> None:
        """A thing is no longer as it was at its path: replaced, moved or removed."""
        if path in self.planted:
            self._displaced(path, thing, after)
        elif path not in after:
            key = self.homes.key_at[path]
            aside = after.get(self.homes.of(key)[1])
            moved = aside is not None and aside.content in self.versions[key]
            marker = key.endswith("/") and b"" in self.versions[key]
            allowed = (key, MISSING) in said or marker
            assert moved or allowed, f"{path!r} was deleted and S3 never said that it is gone"
            assert moved or thing in trash(self.world.root), f"{path!r} is not in the trash"

    def _displaced(self, path: str, thing: Thing, after: dict[str, Thing]) -> None:
        """What is not ours may have to make way for an object; it is kept."""
        del self.planted[path]
        key = self.homes.key_at.get(path)
        assert key is not None and key in self.versions, f"{path!r} is no path of an object"
        aside = self.homes.of(key)[1]
        if after.get(aside) == thing:  # our file, which somebody had written to, moved
            self.planted[aside] = thing
        else:
            assert thing in trash(self.world.root), f"{path!r}, not ours, was lost: {thing}"

    def _came(self, path: str, thing: Thing) -> None:
        key = self.homes.key_at.get(path)
        assert key is not None, f"{path!r} is the path of no key"
        whole = thing.kind == "file" and thing.content in self.versions.get(key, ())
        assert whole, f"{path!r} is no whole version: {thing}"

    def _adopted(self, after: dict[str, Thing]) -> None:
        """A file that proved to be the object is ours from then on."""
        for path in list(self.planted):
            key = self.homes.key_at.get(path)
            row = self.world.ledger.get(key) if key is not None else None
            if row is not None and self._claims(row, path):
                current = row.state is State.SYNCED
                content = after[path].content
                assert not current or content in self.versions[row.key], f"{path!r} was adopted"
                del self.planted[path]

    def _claims(self, row: ObjectRow, path: str) -> bool:
        status = (self.world.root / path).lstat()
        stat = (status.st_size, status.st_mtime_ns)
        return row.path == path and (row.local_size, row.mtime_ns) == stat

    def _check_marks(self, compared: bool) -> None:
        """An accepted event is worked off by an answer of S3 for its key, and by nothing less."""
        left = self.world.ledger.dirty(list(self.accepted))
        for key in [key for key in self.accepted if key not in left]:
            nowhere = key not in self.world.bucket.objects and self.world.ledger.get(key) is None
            answered = self.accepted.pop(key)
            assert answered or (compared and nowhere), f"the event of {key!r} was lost"

    # Equality

    def differences(self) -> list[str]:
        """How the mirror differs from the bucket; what others put beside it does not count."""
        seen = look(self.world.root)
        expected = {
            path for key, stored in self.world.bucket.objects.items()
            for path in self._expected(key, stored, seen)
        }  # fmt: skip
        ours = {path for path in seen if path not in self.planted}
        missing = [
            f"{key!r} is not there"
            for key, stored in self.world.bucket.objects.items()
            if is_mirrored(key, stored) and not self._expected(key, stored, seen)
        ]
        return missing + [f"{path!r} is too much" for path in sorted(ours - expected)]

    def mirrored(self) -> list[str]:
        """The keys of which a file must be there."""
        return [key for key, found in self.world.bucket.objects.items() if is_mirrored(key, found)]

    def stale(self) -> list[str]:
        """Keys whose present version is not to be had, while something else is in its place."""
        seen = look(self.world.root)
        return [
            key
            for key, stored in self.world.bucket.objects.items()
            if not is_mirrored(key, stored)
            and any(
                path in seen and seen[path].content != stored.body for path in self._claimed(key)
            )
        ]

    def _claimed(self, key: str) -> list[str]:
        """Where our file of a key is, or was until somebody else wrote there."""
        row = self.world.ledger.get(key)
        claimed = row.path if row is not None else None
        return [path for path in self.homes.of(key) if path not in self.planted or path == claimed]

    def _expected(self, key: str, stored: FakeObject, seen: dict[str, Thing]) -> list[str]:
        """Where the object is, as it should be. What is not mirrored may still be there."""
        there = [path for path in self.homes.of(key) if path in seen and path not in self.planted]
        if is_mirrored(key, stored):
            return [path for path in there if seen[path] == Thing("file", stored.body)][:1]
        old = set[bytes]() if stored.readable and is_marker(key, stored) else self.versions[key]
        return [path for path in there if seen[path].content in old][:1]


def is_marker(key: str, stored: FakeObject) -> bool:
    return key.endswith("/") and not stored.body


def is_mirrored(key: str, stored: FakeObject) -> bool:
    return stored.readable and len(stored.body) <= MAX_BYTES and not is_marker(key, stored)
