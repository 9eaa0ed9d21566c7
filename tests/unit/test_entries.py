"""Listed objects by columns are the same sequence as the objects themselves."""

from collections.abc import Sequence

import pytest

from datasync.models.entries import Entries, are_in_order, versions, without_problem
from datasync.models.sync_models import ListedObject

OBJECTS = (
    ListedObject("a", 1, "e1", 10),
    ListedObject("b/\u00e9", 2, "e2", 20, "GLACIER", restored=True),
    ListedObject("c", 0, "e3", 30, "STANDARD_IA"),
)
ENTRIES = Entries(
    ["a", "b/\u00e9", "c"],
    [1, 2, 0],
    ["e1", "e2", "e3"],
    [10, 20, 30],
    ["STANDARD", "GLACIER", "STANDARD_IA"],
    [False, True, False],
)
BOTH = pytest.mark.parametrize("listed", [OBJECTS, ENTRIES], ids=["objects", "entries"])


def test_entries_are_a_sequence_of_listed_objects() -> None:
    assert tuple(ENTRIES) == OBJECTS
    assert tuple(reversed(ENTRIES)) == OBJECTS[::-1]
    assert (len(ENTRIES), ENTRIES[1], ENTRIES[-1]) == (3, OBJECTS[1], OBJECTS[-1])
    assert tuple(ENTRIES[1:]) == OBJECTS[1:]
    assert not ENTRIES[3:] and tuple(ENTRIES[3:]) == ()
    with pytest.raises(IndexError):
        ENTRIES[3]


@BOTH
def test_versions_are_told_alike(listed: Sequence[ListedObject]) -> None:
    assert versions(listed) == [
        (b"a", "e1", 1, 10),
        ("b/\u00e9".encode(), "e2", 2, 20),
        (b"c", "e3", 0, 30),
    ]


@BOTH
def test_order_is_ascending_behind_a_key(listed: Sequence[ListedObject]) -> None:
    assert are_in_order(listed, "") and are_in_order(listed, "Z")
    assert not are_in_order(listed, "a")
    assert are_in_order(listed[3:], "z")


@pytest.mark.parametrize("keys", [["a", "a"], ["b", "a"], ["a", "c", "b"]])
def test_what_is_out_of_order(keys: list[str]) -> None:
    count = len(keys)
    listed = [ListedObject(key, 1, "e", 1) for key in keys]
    columns = Entries(keys, [1] * count, ["e"] * count, [1] * count, [""] * count, [False] * count)
    assert not are_in_order(listed, "") and not are_in_order(columns, "")


def test_only_what_has_no_problem_can_be_mirrored() -> None:
    bad = ListedObject("x", 1, "e", 1, problem="its key is not UTF-8")
    assert list(without_problem([*OBJECTS, bad])) == list(OBJECTS)
    assert without_problem(ENTRIES) is ENTRIES
