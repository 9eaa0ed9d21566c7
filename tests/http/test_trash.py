"""The trash over HTTP: what was taken away, and the way back."""

from typing import Any

import pytest

from tests.support.service import Service


@pytest.fixture
def emptied(service: Service) -> Service:
    """Three files, of which a run took two and one was replaced."""
    for key in ("a/1", "a/2", "keep"):
        service.bucket.put(key, key.encode())
    service.sync()
    for key in ("a/1", "a/2"):
        service.bucket.delete(key)
    service.sync()
    return service


def files(service: Service, **asked: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.get("/sync/trash", params=asked)["files"]
    return found


def restore(service: Service, status: int = 200, **asked: Any) -> Any:
    return service.post("/sync/trash/restore", status, json=asked)


def test_what_was_taken_is_listed_with_why(emptied: Service) -> None:
    assert [(each["path"], each["size"], each["why"]) for each in files(emptied)] == [
        ("a/1", 3, "run-2"),
        ("a/2", 3, "run-2"),
    ]
    assert [each["path"] for each in files(emptied, prefix="a/2")] == ["a/2"]
    assert files(emptied, why="events") == []


def test_pages_go_on(emptied: Service) -> None:
    first = emptied.get("/sync/trash?limit=1")
    assert [each["path"] for each in first["files"]] == ["a/1"]
    rest = emptied.get("/sync/trash", params={"limit": 1, "token": first["next_token"]})
    assert ([each["path"] for each in rest["files"]], rest["next_token"]) == (["a/2"], None)
    assert emptied.get("/sync/trash?token=x", 400)["error"] == "MalformedRequest"


def test_an_entry_comes_back_and_stays(emptied: Service) -> None:
    one = files(emptied)[0]
    report = restore(emptied, ids=[one["id"]])
    assert report["message"] == "Restored 1 of 1 files"
    assert report["restored"] == [
        {"id": one["id"], "path": "a/1", "error": None, "hint": "", "stays": True}
    ]
    assert (emptied.root / "a/1").read_bytes() == b"a/1"
    emptied.sync()
    assert (emptied.root / "a/1").exists()
    assert [each["path"] for each in files(emptied)] == ["a/2"]


def test_a_whole_run_is_undone(emptied: Service) -> None:
    report = restore(emptied, run_id=2)
    assert [each["path"] for each in report["restored"]] == ["a/1", "a/2"]
    assert files(emptied) == []


def test_what_is_in_the_way_stays_unless_it_is_said(emptied: Service) -> None:
    (emptied.root / "a").mkdir(exist_ok=True)
    (emptied.root / "a/1").write_bytes(b"mine")
    (told,) = restore(emptied, prefix="a/1")["restored"]
    assert told["error"] and told["stays"] is None
    assert (emptied.root / "a/1").read_bytes() == b"mine"
    restore(emptied, prefix="a/1", overwrite=True)
    assert (emptied.root / "a/1").read_bytes() == b"a/1"


def test_a_file_of_an_object_is_told_to_be_touched_again(service: Service) -> None:
    service.bucket.put("a", b"old")
    service.sync()
    service.bucket.put("a", b"new!")
    (service.root / "a").write_bytes(b"changed by somebody")
    service.sync()
    (told,) = restore(service, prefix="", overwrite=True)["restored"]
    assert (told["path"], told["stays"]) == ("a", False)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"ids": []},
        {"ids": ["x"], "prefix": ""},
        {"run_id": 1, "why": "events"},
        {"everything": True},
        {"run_id": "1"},
        {"ids": "x"},
    ],
)
def test_what_says_two_things_or_nothing_is_refused(
    emptied: Service, asked: dict[str, Any]
) -> None:
    assert restore(emptied, 422, **asked)["error"] == "UnprocessableRequest"
    assert len(files(emptied)) == 2


def test_no_such_entry_is_404(emptied: Service) -> None:
    missing = "20260101T000000Z-run-9/a"
    assert restore(emptied, 404, ids=[missing])["error"] == "FileMissing"


@pytest.mark.parametrize(
    "missing",
    [
        "20260101T000000Z-x/../y",
        "20260101T000000Z-a\x00/x",
        f"20260101T000000Z.{'9' * 5000}-x/y",
        f"20260101T000000Z-{'x' * 300}/y",
        "20260101T000000Z-x/" + "y/" * 3000,
        "",
        "/",
    ],
)
def test_what_can_be_no_entry_is_404(emptied: Service, missing: str) -> None:
    assert restore(emptied, 404, ids=[missing])["error"] == "FileMissing"


def test_one_that_is_missing_keeps_the_others_where_they_are(emptied: Service) -> None:
    one, other = files(emptied)
    refused = restore(emptied, 404, ids=[one["id"], "20260101T000000Z-run-9/a", other["id"]])
    assert "run-9/a" in refused["detail"]
    assert files(emptied) == [one, other]


def test_one_that_is_named_twice_comes_back_once(emptied: Service) -> None:
    one, other = files(emptied)
    report = restore(emptied, ids=[one["id"], other["id"], one["id"]])
    assert report["message"] == "Restored 2 of 2 files"
    assert files(emptied) == []
