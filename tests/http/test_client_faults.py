"""Both Python clients against servers that do wrong: what is tried again, what is never sent."""

import json
import ssl
from pathlib import Path
from typing import Any

import pytest

from datasync.client import (
    ClientSetupError,
    Conflict,
    NotFound,
    ServiceError,
    ServiceTimeout,
    ServiceUnreachable,
    TooManyRequests,
    UnexpectedAnswer,
)
from datasync.client.address import address_of
from datasync.models.s3_models import FilePage
from tests.support.clients import Connect
from tests.support.scripted_server import ScriptedServer, answer, raw, stall_before_head

PEM = Path(__file__).parents[1] / "support" / "loopback.pem"
PAGE = FilePage(source="local", files=[], next_token=None).model_dump_json().encode()
GOOD = answer("200 OK", PAGE)
GATEWAY = answer("502 Bad Gateway", b"<html>nginx</html>")


def refusal(status: str, error: str = "LedgerBusy", **headers: str) -> Any:
    body = {"error": error, "detail": "it is busy", "hint": "Wait."}
    return answer(status, json.dumps(body).encode(), **headers)


# Tried again, or not


@pytest.mark.parametrize(
    "first", [GATEWAY, raw(b""), refusal("503 Busy", Retry_After="0")], ids=["502", "cut", "503"]
)
def test_a_get_is_sent_again(connect: Connect, first: Any) -> None:
    with ScriptedServer() as server:
        server.script(first, first, GOOD)
        assert list(connect(server.url).files()) == []
        assert len(server.requests) == 3


@pytest.mark.parametrize("first", [GATEWAY, raw(b"")], ids=["502", "cut"])
def test_what_may_have_been_done_is_not_sent_again(connect: Connect, first: Any) -> None:
    with ScriptedServer() as server:
        server.script(first, GOOD)
        with pytest.raises((ServiceError, ServiceUnreachable)):
            connect(server.url).approve(1)
        assert len(server.requests) == 1


def test_what_was_put_off_is_sent_again(connect: Connect) -> None:
    with ScriptedServer() as server:
        server.script(refusal("429 Slow", Retry_After="0"), refusal("409 No", "RunNotHeld"))
        with pytest.raises(Conflict):
            connect(server.url).approve(1)
        assert [seen.method for seen in server.requests] == ["POST", "POST"]


@pytest.mark.parametrize("retries", [0, 2])
def test_tries_are_bounded(connect: Connect, retries: int) -> None:
    with ScriptedServer() as server:
        server.script(refusal("503 Busy", Retry_After="0", X_Request_ID="abc"))
        with pytest.raises(ServiceError) as caught:
            connect(server.url, retries=retries).stats()
        assert len(server.requests) == retries + 1
    error = caught.value
    assert (error.status, error.error, error.detail) == (503, "LedgerBusy", "it is busy")
    assert (error.hint, error.request_id) == ("Wait.", "abc")
    assert str(error) == "503 LedgerBusy: it is busy. Wait."


def test_what_the_service_could_not_do_is_told_at_once(connect: Connect) -> None:
    with ScriptedServer() as server:
        server.script(refusal("502 Bad Gateway", "AccessDenied"))
        with pytest.raises(ServiceError):
            list(connect(server.url).files(source="s3"))
        assert len(server.requests) == 1


def test_nobody_waits_for_an_hour(connect: Connect) -> None:
    with ScriptedServer() as server:
        server.script(refusal("429 Slow", "TooManyRequests", Retry_After="3600"))
        with pytest.raises(TooManyRequests) as caught:
            connect(server.url).trigger()
        assert caught.value.retry_after_seconds == 3600.0
        assert len(server.requests) == 1


def test_an_answer_that_does_not_come(connect: Connect) -> None:
    with ScriptedServer() as server:
        server.script(stall_before_head())
        with pytest.raises(ServiceTimeout):
            connect(server.url, timeout_seconds=0.2, retries=1).health()
        assert len(server.requests) == 2


def test_a_connection_that_was_kept_and_died_costs_nothing(connect: Connect) -> None:
    with ScriptedServer() as server:
        server.script(GOOD, raw(b""), GOOD)
        client = connect(server.url)
        assert list(client.files()) == list(client.files()) == []


# Answers of others


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"source": "local"}'])
def test_an_answer_of_another_shape(connect: Connect, body: bytes) -> None:
    with ScriptedServer() as server:
        server.script(answer("200 OK", body))
        with pytest.raises(UnexpectedAnswer, match="no FilePage") as caught:
            connect(server.url).file_page()
        assert caught.value.status == 200
        assert caught.value.hint


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'{"error": 1}', b"[" * 9999])
def test_an_error_of_another_shape(connect: Connect, body: bytes) -> None:
    with ScriptedServer() as server:
        server.script(answer("404 Not Found", body))
        with pytest.raises(NotFound, match="not DataSync's") as caught:
            connect(server.url).run(1)
        assert (caught.value.status, caught.value.error) == (404, "")


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Later", "308 Moved"])
def test_a_redirect_is_not_followed(connect: Connect, status: str) -> None:
    with ScriptedServer() as server, ScriptedServer() as other:
        other.script(GOOD)
        server.script(answer(status, Location=f"{other.url}/sync/files"))
        client = connect(server.url, "the-key")
        with pytest.raises(UnexpectedAnswer, match=other.url):
            list(client.files())
        with pytest.raises(UnexpectedAnswer), client.stream("a"):
            pass
        with pytest.raises(UnexpectedAnswer):
            client.trigger()
        assert other.requests == []


# The key


def test_the_key_goes_to_the_service_only(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer() as server, ScriptedServer() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        server.script(GOOD)
        assert list(connect(f"{server.url}/below/", "the-key").files("a b")) == []
        assert proxy.requests == []
        [seen] = server.requests
    assert seen.target == "/below/sync/files?source=local&prefix=a%20b&limit=1000"
    assert seen.headers["authorization"] == "Bearer the-key"
    assert seen.headers["user-agent"].startswith("datasync-client/")


def test_a_certificate_must_be_trusted(connect: Connect) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    with ScriptedServer(context) as server:
        server.script(GOOD)
        with pytest.raises(ServiceUnreachable) as caught:
            connect(server.url, "the-key", retries=0).stats()
        assert "ca_file" in caught.value.hint
        assert server.requests == []
        assert list(connect(server.url, "the-key", ca_file=PEM).files()) == []


@pytest.mark.parametrize("name", ["absent.pem", "bad.pem"])
def test_a_bad_file_of_certificates(connect: Connect, tmp_path: Path, name: str) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(ClientSetupError, match="ca_file"):
        connect("https://localhost", ca_file=tmp_path / name)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8888",
        "ftp://localhost",
        "http://",
        "http://host:0",
        "http://host:99999",
        "http://[::1",
        "http://user:secret@host",
        "http://host/?a=1",
        "http://host/#a",
        "http://ho st",
        "http://host\n",
        "http://hüst",
        "http://192.168.1.256:8888",
    ],
)
def test_an_address_that_is_none(connect: Connect, url: str) -> None:
    with pytest.raises(ClientSetupError) as caught:
        connect(url)
    assert "secret" not in str(caught.value)


def test_no_address_at_all(connect: Connect) -> None:
    with pytest.raises(ClientSetupError, match="DATASYNC_URL"):
        connect()


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe", b"two\nlines"])
def test_a_file_that_holds_no_key(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ClientSetupError):
        address_of("http://host", environment={"DATASYNC_API_KEY_FILE": str(file)})
