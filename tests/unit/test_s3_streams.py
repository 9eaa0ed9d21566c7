"""Large bodies, on threads of their own. What a server can do wrong: `test_s3_client.py`."""

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasync.errors import NetworkFailure, TornRead
from datasync.models.sync_models import ObjectRequest
from datasync.services.storage.bucket import S3Bucket
from datasync.services.storage.s3 import streams
from datasync.services.storage.s3.credentials import source
from datasync.services.storage.s3.endpoint import S3Config
from datasync.services.storage.s3.streams import STEP_BYTES, Stream
from tests.support.receivers import PATIENCE_SECONDS, Collector, drain, fetch
from tests.support.scripted_server import Peer, ScriptedServer, Seen, answer, etag, head
from tests.support.world import eventually

PEM = Path(__file__).parent.parent / "support" / "loopback.pem"
BODY = bytes(range(256)) * (3 * STEP_BYTES // 256) + b"and a rest"
LARGE = ObjectRequest("a", first=0, last=len(BODY) - 1, if_match=etag(BODY), large=True)
SMALL = ObjectRequest("a", first=0, last=len(BODY) - 1, if_match=etag(BODY))
TOLD = {"ETag": f'"{etag(BODY)}"', "Content_Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"}
RANGE = answer("206 Partial Content", BODY, **TOLD)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        server.script(RANGE)
        yield server


@pytest.fixture
def bucket(server: ScriptedServer) -> Iterator[S3Bucket]:
    keys = source("AKIDEXAMPLE", "hush-secret", "hush-token")
    bucket = S3Bucket(S3Config("bucket", "us-east-1", server.url, keys, direct=True))
    yield bucket
    bucket.close()


def test_a_body_comes_in_large_pieces_on_another_thread(bucket: S3Bucket) -> None:
    threads = set()
    channel = bucket.channel(1)
    receiver = Collector(on_write=lambda data: threads.add(threading.current_thread().name))
    channel.start(LARGE, receiver, None)
    (found,) = drain(channel)
    channel.close()

    assert found.error is None and receiver.body == BODY
    assert [len(chunk) for chunk in receiver.chunks] == [STEP_BYTES] * 3 + [10]
    assert threads == {"stream"}


def test_the_request_is_the_one_that_libcurl_would_send(
    server: ScriptedServer, bucket: S3Bucket
) -> None:
    key = "a b/ü%2F..//x"
    for request in (LARGE, SMALL):
        asked = ObjectRequest(key, first=request.first, last=request.last, large=request.large)
        assert fetch(bucket, asked)[0].error is None

    ours, curls = server.requests
    assert ours.target == curls.target
    changing = {"authorization", "x-amz-date"}  # with the second; both tell the same otherwise
    told = [
        {name: seen.headers[name] for name in seen.headers if name not in changing}
        for seen in (ours, curls)
    ]
    assert told[0] == told[1] and "range" in told[0]
    signed = [
        seen.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
        for seen in (ours, curls)
    ]
    assert signed[0] == signed[1] and "host" in signed[0]


def test_nothing_is_streamed_where_a_proxy_may_be(server: ScriptedServer) -> None:
    bucket = S3Bucket(S3Config("bucket", endpoint_url=server.url))

    found, receiver = fetch(bucket, LARGE)

    assert found.error is None and receiver.body == BODY
    assert len(receiver.chunks[0]) < STEP_BYTES
    bucket.close()


def test_without_a_thread_libcurl_does_it(
    bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(stream: Stream) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Stream, "start", none_left)

    found, receiver = fetch(bucket, LARGE)

    assert found.error is None and receiver.body == BODY


class Halfway:
    """A server's reply that stops in the middle of a body until it may go on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def __call__(self, peer: Peer, seen: Seen) -> bool:
        peer.send(head("206 Partial Content", len(BODY), **TOLD) + BODY[: 2 * STEP_BYTES])
        self.go_on.wait(PATIENCE_SECONDS)
        peer.send(BODY[2 * STEP_BYTES :])
        return True


def test_one_that_is_cancelled_hands_nothing_on(server: ScriptedServer, bucket: S3Bucket) -> None:
    halfway = Halfway()
    server.script(halfway)
    channel, receiver = bucket.channel(2), Collector()
    channel.start(LARGE, receiver, "mine")
    eventually(lambda: len(receiver.chunks) == 2)

    channel.cancel("mine")

    assert channel.in_flight == 0
    halfway.go_on.set()
    server.script(RANGE)
    channel.start(LARGE, None, "next")
    assert [found.token for found in drain(channel)] == ["next"]
    assert len(receiver.chunks) == 2
    channel.close()


def test_closing_does_not_wait_for_the_server(server: ScriptedServer, bucket: S3Bucket) -> None:
    halfway = Halfway()
    server.script(halfway)
    channel, receiver = bucket.channel(1), Collector()
    channel.start(LARGE, receiver, None)
    eventually(lambda: len(receiver.chunks) == 2)

    channel.close()

    assert not any(thread.name == "stream" for thread in threading.enumerate())
    halfway.go_on.set()


def test_wake_is_heard_beside_a_stream(server: ScriptedServer, bucket: S3Bucket) -> None:
    halfway = Halfway()
    server.script(halfway)
    channel = bucket.channel(1)
    channel.start(LARGE, None, None)
    waker = threading.Timer(0.05, channel.wake)
    waker.start()

    assert channel.poll(PATIENCE_SECONDS) == []

    waker.join()
    halfway.go_on.set()
    assert [found.error for found in drain(channel)] == [None]
    channel.close()


def test_an_error_of_the_receiver_ends_it(bucket: S3Bucket) -> None:
    def refuse(data: bytes) -> None:
        raise TornRead("not mine")

    channel, receiver = bucket.channel(1), Collector(on_write=refuse)
    channel.start(LARGE, receiver, None)
    (found,) = drain(channel)
    channel.close()

    assert isinstance(found.error, TornRead) and len(receiver.chunks) == 1


def test_connections_are_kept_for_a_while(
    server: ScriptedServer, bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = bucket.channel(1)
    server.script(answer("200 OK", BODY, ETag=TOLD["ETag"]))
    for fresh in (False, False, True):
        channel.start(ObjectRequest("a", large=True, fresh=fresh), None, None)
        assert [found.error for found in drain(channel)] == [None]
    assert server.connections == 2

    monkeypatch.setattr(streams, "KEPT_SECONDS", -1.0)
    channel.poll(0.0)

    eventually(lambda: server.open_connections == 0)
    channel.close()


@pytest.fixture
def secure() -> Iterator[ScriptedServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PEM)
    with ScriptedServer(context) as server:
        server.script(RANGE)
        yield server


def test_certificates_are_checked(secure: ScriptedServer) -> None:
    bucket = S3Bucket(S3Config("bucket", endpoint_url=secure.url, direct=True))

    found, _ = fetch(bucket, LARGE)

    assert isinstance(found.error, NetworkFailure) and "AWS_CA_BUNDLE" in found.error.hint
    assert secure.requests == []
    bucket.close()


def test_a_ca_bundle_is_trusted(secure: ScriptedServer) -> None:
    config = S3Config("bucket", endpoint_url=secure.url, ca_bundle=str(PEM), direct=True)
    bucket = S3Bucket(config)

    found, receiver = fetch(bucket, LARGE)

    assert found.error is None and receiver.body == BODY
    bucket.close()
