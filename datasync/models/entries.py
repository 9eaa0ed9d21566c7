"""The entries of a listing, and what of them is compared with the ledger, without an object each.

Nearly every key of nearly every run is unchanged, and nothing is built to find that out. Pure.
"""

from collections.abc import Iterator, Sequence
from operator import lt
from typing import Any, TypeAlias, overload

from datasync.models.sync_models import ListedObject

# What tells one version of a key from another: the key's bytes, ETag, size, last modified.
Version: TypeAlias = tuple[bytes, str, int, int]


class Entries(Sequence[ListedObject]):
    """Listed objects without a problem, by columns; each is made when it is asked for."""

    __slots__ = ("keys", "_sizes", "_etags", "_dates", "_classes", "_restored")

    def __init__(
        self,
        keys: Sequence[str],
        sizes: Sequence[int],
        etags: Sequence[str],
        dates: Sequence[int],
        classes: Sequence[str],
        restored: Sequence[bool],
    ) -> None:
        self.keys = keys
        self._sizes = sizes
        self._etags = etags
        self._dates = dates
        self._classes = classes
        self._restored = restored

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[ListedObject]:
        return map(ListedObject, *self._columns())

    @overload
    def __getitem__(self, index: int) -> ListedObject: ...

    @overload
    def __getitem__(self, index: slice) -> "Entries": ...

    def __getitem__(self, index: int | slice) -> "ListedObject | Entries":
        if isinstance(index, slice):
            return Entries(*(column[index] for column in self._columns()))
        return ListedObject(*(column[index] for column in self._columns()))

    def versions(self) -> list[Version]:
        """Of each entry, in their order."""
        return list(zip(map(str.encode, self.keys), self._etags, self._sizes, self._dates))

    def _columns(self) -> tuple[Sequence[Any], ...]:
        """In the order of a `ListedObject`'s fields."""
        return (
            self.keys,
            self._sizes,
            self._etags,
            self._dates,
            self._classes,
            self._restored,
        )


def versions(listed: Sequence[ListedObject]) -> list[Version]:
    """What tells the listed versions from others, in their order."""
    if isinstance(listed, Entries):
        return listed.versions()
    return [(each.key.encode(), each.etag, each.size, each.last_modified) for each in listed]


def without_problem(listed: Sequence[ListedObject]) -> Sequence[ListedObject]:
    """Those that can be mirrored."""
    if isinstance(listed, Entries):
        return listed
    return [each for each in listed if each.problem is None]


def are_in_order(listed: Sequence[ListedObject], after: str) -> bool:
    """Whether the keys come in their order, each once, all behind `after`."""
    keys = listed.keys if isinstance(listed, Entries) else [each.key for each in listed]
    return not keys or (after < keys[0] and all(map(lt, keys, keys[1:])))
