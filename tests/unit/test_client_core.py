"""What both Python clients have in common, without a network: targets, retries, patience, words."""

import traceback
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
from tenacity import Retrying

from datasync.client import calls, exchange
from datasync.client.address import Address, address_of
from datasync.client.answers import Answer, error_of
from datasync.client.errors import (
    BadRequest,
    ClientError,
    Conflict,
    DownloadBroken,
    ServiceError,
    ServiceTimeout,
    ServiceUnreachable,
    TooManyRequests,
    UnexpectedAnswer,
    WaitTimeout,
)
from datasync.client.exchange import is_passing, translated
from datasync.client.incoming import FileHead, Incoming, head_of
from datasync.client.patience import LONGEST_PAUSE_SECONDS, Patience


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("reports/2024.csv", "reports/2024.csv"),
        ("a//b", "a//b"),
        ("/lead", "/lead"),
        ("../x", "%2E%2E/x"),
        ("a/./b", "a/%2E/b"),
        ("...", "..."),
        ("100% ?#", "100%25%20%3F%23"),
        ("ü+", "%C3%BC%2B"),
        ("a\nb", "a%0Ab"),
    ],
)
def test_a_key_in_a_path(key: str, target: str) -> None:
    found = calls.download_target(key)
    assert found == f"/sync/download/{target}"
    assert unquote(found.removeprefix("/sync/download/")) == key


def test_what_is_no_text_is_no_key() -> None:
    with pytest.raises(BadRequest):
        calls.download_target("half \ud800 a character")


def test_an_answer_that_leads_nowhere_is_not_ours() -> None:
    error = error_of(Answer(304, {}, b""))
    assert isinstance(error, UnexpectedAnswer) and error.status == 304


def test_parameters_say_only_what_is_not_usual() -> None:
    assert calls.trigger("", False, False, None).target == "/sync/trigger"
    assert calls.trigger("a/ü&", True, True, None).target == (
        "/sync/trigger?prefix=a%2F%C3%BC%26&background=true&dry_run=true"
    )
    assert calls.runs(7, 0).target == "/sync/runs?limit=7&before=0"
    assert calls.notify({}, 1.5).target == "/sync/s3-notification?wait=1.5"


@pytest.mark.parametrize(
    ("trigger", "seconds"),
    [
        (calls.trigger("", False, False, None), float("inf")),
        (calls.trigger("", False, True, None), float("inf")),
        (calls.trigger("", False, False, 5.0), 5.0),
        (calls.trigger("", True, False, None), None),
    ],
)
def test_a_run_is_waited_for_as_long_as_it_takes(
    trigger: calls.Call[object], seconds: float | None
) -> None:
    assert trigger.answer_seconds == seconds


@pytest.mark.parametrize(
    ("error", "get", "post"),
    [
        (ServiceUnreachable("x"), True, False),
        (ServiceTimeout("x"), True, False),
        (ServiceError("x", status=502), True, False),
        (ServiceError("x", status=502, error="AccessDenied"), False, False),
        (ServiceError("x", status=500), False, False),
        (ServiceError("x", status=503, error="LedgerBusy", retry_after_seconds=2), True, True),
        (ServiceError("x", status=503, error="LedgerBusy"), False, False),
        (TooManyRequests("x", status=429, retry_after_seconds=30), True, True),
        (TooManyRequests("x", status=429, retry_after_seconds=31), False, False),
        (Conflict("x", status=409, retry_after_seconds=1), False, False),
        (ValueError("x"), False, False),
    ],
)
def test_what_is_sent_again(error: Exception, get: bool, post: bool) -> None:
    assert (is_passing(error, "GET"), is_passing(error, "POST")) == (get, post)


def test_what_no_request_can_carry_does_not_show_the_key() -> None:
    address = Address("http://127.0.0.1:1", " the-secret ")
    with pytest.raises(BadRequest) as caught, translated(address):
        raise httpx.LocalProtocolError("Illegal header value b'Bearer the-secret '")
    assert "the-secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (TooManyRequests("x", status=429, retry_after_seconds=7.0), 7.0),
        (ServiceError("x", status=503, retry_after_seconds=0.0), 0.0),
        (ServiceUnreachable("x"), 0.125),
    ],
)
def test_the_pause_is_the_one_that_the_service_asked_for(
    monkeypatch: pytest.MonkeyPatch, error: ClientError, seconds: float
) -> None:
    monkeypatch.setattr(exchange, "_backoff", lambda state: 0.125)
    pauses: list[float] = []
    with pytest.raises(type(error)):
        for attempt in Retrying(**exchange.policy("GET", 1), sleep=pauses.append):
            with attempt:
                raise error
    assert pauses == [seconds]


def test_a_notification_is_waited_for_as_long_as_it_asks() -> None:
    assert calls.notify({}, 0.0).answer_seconds is None
    assert calls.notify({}, 100.0).answer_seconds == 130.0


def test_a_full_disk_leaves_nothing_staged(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="space"), Incoming(tmp_path / "it", 0) as incoming:
        incoming.begin(FileHead(3, "", ""))
        incoming._file.close()
        incoming._file = open("/dev/full", "wb")
        incoming.write(b"abc")
        incoming.place()
    assert list(tmp_path.iterdir()) == []


def test_patience_looks_less_often_and_ends_in_time() -> None:
    now = 0.0
    patience = Patience(10.0, clock=lambda: now)
    pauses = []
    with pytest.raises(WaitTimeout, match="it is so, after 10 seconds"):
        while True:
            pauses.append(patience.pause_seconds("it is so"))
            now += pauses[-1]
    assert pauses[0] == 0.1 and max(pauses) == LONGEST_PAUSE_SECONDS
    assert sum(pauses) == pytest.approx(10.0)
    assert len(pauses) < 20


def test_patience_without_an_end() -> None:
    patience = Patience(None, clock=lambda: 0.0)
    assert [patience.pause_seconds("") for _ in range(100)][-1] == LONGEST_PAUSE_SECONDS


def test_an_event_of_ours_is_one_as_s3_sends_it() -> None:
    [one, other] = calls.changed("b", "a b", "ü+")["Records"]
    assert one["s3"] == {"bucket": {"name": "b"}, "object": {"key": "a+b"}}
    assert other["s3"]["object"]["key"] == "%C3%BC%2B"


def test_an_error_says_all_that_is_known() -> None:
    error = ClientError("it is not so.", hint="Do this.", status=409, error="NotSo")
    assert str(error) == "409 NotSo: it is not so. Do this."
    assert str(BadRequest("the key is not UTF-8")) == "the key is not UTF-8"


def test_a_key_is_not_shown() -> None:
    assert "secret" not in repr(Address("http://host", "secret"))
    assert address_of("http://host/base/", "k", {}).url == "http://host/base"
    assert address_of("http://host", "", {"DATASYNC_API_KEY": "k"}).key is None
    assert address_of("http://host", " k ", {}).key == "k"
    assert address_of("http://host", None, {"DATASYNC_API_KEY": "k "}).key == "k"


def test_the_head_of_a_file() -> None:
    whole = head_of(200, {"etag": '"abc"', "content-length": "5", "content-type": "text/plain"})
    assert (whole.size, whole.etag, whole.first) == (5, "abc", 0)
    part = head_of(206, {"etag": 'W/"abc"', "content-length": "2", "content-range": "bytes 3-4/5"})
    assert (part.size, part.etag, part.first) == (5, "", 3)
    assert head_of(200, {}).size is None


@pytest.mark.parametrize(
    ("status", "headers"),
    [(206, {}), (206, {"content-range": "bytes */5"}), (200, {"content-encoding": "br"})],
)
def test_the_head_of_what_is_not_the_file(status: int, headers: dict[str, str]) -> None:
    with pytest.raises(UnexpectedAnswer):
        head_of(status, headers)


@pytest.mark.parametrize("body", [b"1234", b"123456"])
def test_a_file_of_another_size_gets_no_name(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(DownloadBroken), Incoming(tmp_path / "file", retries=0) as incoming:
        incoming.begin(FileHead(5, "", ""))
        incoming.write(body)
        incoming.place()
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_no_known_size_is_taken_as_it_came(tmp_path: Path) -> None:
    with Incoming(tmp_path / "file", retries=0) as incoming:
        assert "Range" not in incoming.headers()
        incoming.begin(FileHead(None, "", ""))
        incoming.write(b"12345")
        assert "Range" not in incoming.headers()  # without an ETag nobody knows the version
        assert (incoming.place().size, incoming.in_doubt) == (5, False)
    assert (tmp_path / "file").read_bytes() == b"12345"
