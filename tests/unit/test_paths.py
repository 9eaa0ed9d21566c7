"""Key -> path: every row of the table, and that two keys never share a path."""

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datasync.errors import KeyRejected, MirrorError
from datasync.services.storage.paths import (
    check_path,
    conflict_of,
    conflict_path_for,
    join,
    path_for,
    split,
)

LONG = "ü" * 128  # 256 bytes


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a", "a"),
        ("a/b.txt", "a/b.txt"),
        ("with space/ü/日本 +%20", "with space/ü/日本 +%20"),
        ("e\u0301", "e\u0301"),  # never normalised
        ("\u00e9", "\u00e9"),
        ("back\\slash", "back\\slash"),
        ("C:", "C:"),
        ("new\nline", "new\nline"),
        ("%", "%"),
        ("%F", "%F"),
        ("%ff", "%ff"),
        ("a//b", "a/%FF/b"),
        ("/lead", "%FF/lead"),
        ("/", "%FF/%FF"),
        ("dir/", "dir/%FF"),
        ("//etc/passwd", "%FF/%FF/etc/passwd"),
        (".", "%FF%2E"),
        ("..", "%FF%2E%2E"),
        ("../x", "%FF%2E%2E/x"),
        ("a/./../b", "a/%FF%2E/%FF%2E%2E/b"),
        ("...", "..."),
        ("nul\0%", "%FFnul%00%25"),
        ("%FF", "%FF%25FF"),
        ("%FF%2E", "%FF%25FF%252E"),
        ("a/%FFx", "a/%FF%25FFx"),
        ("=\0", "%FF%3D%00"),
        ("~\0", "%FF%7E%00"),
        (".datasync", "%FF.datasync"),
        (".datasync/ledger.db", "%FF.datasync/ledger.db"),
        ("a/.datasync/x", "a/.datasync/x"),
        (".datasync2", ".datasync2"),
        ("x" * 255, "x" * 255),
    ],
)
def test_each_row_of_the_table(key: str, path: str) -> None:
    assert path_for(key) == path


def test_a_segment_that_is_too_long_keeps_a_readable_start() -> None:
    path = path_for(f"a/{LONG}/b")
    folder, name, leaf = path.split("/")
    assert (folder, leaf) == ("a", "b")
    digest = hashlib.sha256(LONG.encode()).hexdigest()
    assert name.startswith(f"%FF~{digest}~üüü")
    assert len(name.encode()) <= 251


@pytest.mark.parametrize(
    ("key", "path"),
    [("a", "%FF=a"), ("d/a", "d/%FF=a"), ("a//", "a/%FF/%FF=%FF"), ("..", "%FF=%FF%2E%2E")],
)
def test_the_other_home_is_in_the_same_folder(key: str, path: str) -> None:
    assert conflict_path_for(key) == path


def test_the_other_home_of_a_long_name_fits() -> None:
    name = conflict_path_for("x" * 255)
    assert name.startswith("%FF=%FF~") and len(name) <= 255
    assert conflict_path_for("x" * 251) == "%FF=" + "x" * 251


@pytest.mark.parametrize("key", ["", "x" * 1025, "ü" * 513, "\ud800", "a/\udcff"])
def test_what_is_no_key_is_rejected(key: str) -> None:
    with pytest.raises(KeyRejected):
        path_for(key)


def test_a_key_of_1024_bytes_is_a_key() -> None:
    assert path_for("ü" * 512).startswith("%FF~")
    assert path_for("/" * 1024).split("/") == ["%FF"] * 1025


PIECES = ["%FF", "%", "FF", "%00", "%25", "%3D", "%2E", "\0", "=", "~", ".", "..", ".datasync"]
PIECES += ["/", "//", "a", "A", "ü", "x" * 251, "x" * 252, "x" * 255, "x" * 256, "%FF~", "%FF="]
KEYS = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
).filter(lambda key: 0 < len(key.encode()) <= 1024)


@given(KEYS)
def test_every_segment_is_a_safe_name(key: str) -> None:
    for path in (path_for(key), conflict_path_for(key)):
        segments = path.split("/")
        assert segments[0] != ".datasync"
        for segment in segments:
            assert segment not in ("", ".", "..")
            assert "\0" not in segment
            assert len(segment.encode()) <= 255
        check_path(path)


@given(st.lists(KEYS, min_size=2, max_size=12, unique=True))
@example(["=x\0", "x%00"])
@example(["~" + "0" * 64 + "~x\0", "x" * 256])
@example([".datasync", "%FF.datasync"])
@example(["x" * 252, "%FF~" + hashlib.sha256(b"x" * 252).hexdigest() + "~" + "x" * 182])
@example(["%FF%25" + "x" * 246, "%FF" + "x" * 246])
def test_no_two_keys_share_a_path(keys: list[str]) -> None:
    """Neither their own paths nor their other homes, nor one's path with another's home."""
    homes = [path_for(key) for key in keys] + [conflict_path_for(key) for key in keys]
    assert len(set(homes)) == 2 * len(keys)


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join))
def test_shortened_and_escaped_names_never_meet(segment: str) -> None:
    """Any name that is used for a key, taken as a key itself, has other homes."""
    for name in (path_for(segment), conflict_path_for(segment)):
        if "/" not in name and name != segment:
            taken = {path_for(segment), conflict_path_for(segment)}
            assert taken.isdisjoint({path_for(name), conflict_path_for(name)})


@pytest.mark.parametrize(
    "path",
    ["", "/", "/etc", "a//b", "a/", ".", "..", "a/../b", ".datasync", ".datasync/staging/x"]
    + ["a/\0", "\udcff", "x" * 256],
)
def test_what_no_key_has_as_its_path_is_refused(path: str) -> None:
    with pytest.raises(MirrorError):
        check_path(path)


def test_splitting_and_joining() -> None:
    assert split("a/b/ü") == ("a/b", "ü".encode())
    assert split("a") == ("", b"a")
    assert split("a/\udcff") == ("a", b"\xff")
    assert (join("", "a"), join("a", "b")) == ("a", "a/b")
    assert conflict_of("a/b") == "a/%FF=b"
