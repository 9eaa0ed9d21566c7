"""File systems that take `A` and `a` for one name: what the probe finds is injected here."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from datasync.errors import PathConflict
from datasync.services.storage.mirror import Mirror
from tests.support.disk import put, put_all, tree, try_put


@pytest.fixture
def mirror(root: Path) -> Iterator[Mirror]:
    with Mirror(root, case_sensitive=False) as mirror:
        mirror.prepare(bucket_identity="s3://bucket")
        yield mirror


def test_names_that_differ_by_case_get_two_homes(mirror: Mirror, root: Path) -> None:
    put_all(mirror, [("d/Read.me", b"1"), ("d/READ.me", b"2"), ("d/other", b"3")])
    assert tree(root) == {"d/Read.me": b"1", "d/%FF=READ.me": b"2", "d/other": b"3"}


def test_the_homes_stay_from_batch_to_batch(mirror: Mirror, root: Path) -> None:
    first = put(mirror, "a", b"1").file
    second = put(mirror, "A", b"2").file
    assert (first.path, second.path) == ("a", "%FF=A")
    assert put(mirror, "A", b"3", held=second).file.path == "%FF=A"
    assert put(mirror, "a", b"4", held=first).file.path == "a"
    assert put(mirror, "A", b"5").file.path == "%FF=A"
    assert tree(root) == {"a": b"4", "%FF=A": b"5"}


def test_folders_that_differ_by_case_get_two_homes(mirror: Mirror, root: Path) -> None:
    put_all(mirror, [("Dir/x", b"1"), ("dir/x", b"2"), ("dir/sub/y", b"3")])
    assert tree(root) == {"Dir/x": b"1", "%FF=dir/x": b"2", "%FF=dir/sub/y": b"3"}


def test_unicode_forms_are_one_name_too(mirror: Mirror, root: Path) -> None:
    put_all(mirror, [("\u00e9", b"1"), ("e\u0301", b"2")])
    assert tree(root) == {"\u00e9": b"1", "%FF=e\u0301": b"2"}


def test_characters_that_nobody_sees_make_no_name(mirror: Mirror, root: Path) -> None:
    put_all(mirror, [("ab/x", b"1"), ("a\u200cb/x", b"2"), ("c", b"3"), ("\ufeffC", b"4")])
    assert tree(root) == {
        "ab/x": b"1",
        "%FF=a\u200cb/x": b"2",
        "c": b"3",
        "%FF=\ufeffC": b"4",
    }


def test_a_third_spelling_is_reported(mirror: Mirror, root: Path) -> None:
    put_all(mirror, [("abc", b"1"), ("ABC", b"2")])
    conflict = try_put(mirror, "Abc", b"3")
    assert isinstance(conflict, PathConflict)
    assert "upper and lower case" in str(conflict) and conflict.at == "abc"
    assert tree(root) == {"abc": b"1", "%FF=ABC": b"2"}


def test_the_probe_finds_that_this_file_system_tells_them_apart(root: Path) -> None:
    with Mirror(root) as mirror:
        mirror.prepare(bucket_identity="s3://bucket")
        assert put(mirror, "a", b"1").file.path == "a"
        assert put(mirror, "A", b"2").file.path == "A"
