"""Downloads of both Python clients: odd keys, what is proved, what breaks off, what is left."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from datasync.client import (
    AsyncClient,
    DownloadBroken,
    NotFound,
    ServiceError,
    ServiceTimeout,
    ServiceUnreachable,
    UnexpectedAnswer,
)
from tests.http.test_client import url_of
from tests.http.test_files import HOSTILE
from tests.support.clients import Connect
from tests.support.fake_bucket import FakeBucket
from tests.support.scripted_server import (
    ScriptedServer,
    answer,
    end_after,
    etag,
    good,
    stall_after,
)
from tests.support.service import Starter
from tests.support.world import eventually

BODY = bytes(range(256)) * 1000
OTHER = b"another version" * 1000


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A name in a folder of its own, where an older file is."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    (folder / "file.bin").write_bytes(b"old")
    return folder / "file.bin"


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def entry(key: str, tag: str, verdict: str) -> Any:
    """The answer to a listing with this one file."""
    file = {"key": key, "size": 1, "last_modified": "2026-01-01T00:00:00Z", "etag": tag}
    file |= {"state": "synced", "verdict": verdict, "path": key}
    page = {"source": "local", "files": [file], "next_token": None}
    return answer("200 OK", json.dumps(page).encode())


# The real service


def test_every_key_can_be_downloaded(
    connect: Connect, start_service: Starter, target: Path
) -> None:
    bucket = FakeBucket()
    for key in HOSTILE:
        bucket.put(key, b"body of " + key.encode())
    service = start_service(bucket)
    client = connect(url_of(service))
    assert client.trigger().in_sync is True
    assert {file.key for file in client.files()} == set(HOSTILE)
    for key in HOSTILE:
        body = b"body of " + key.encode()
        done = client.download(key, target)
        assert (done.path, done.size, done.verified) == (target, len(body), "md5")
        assert target.read_bytes() == body, key
        with client.stream(key) as stream:
            assert b"".join(stream) == body, key
            assert stream.head.etag == hashlib.md5(body).hexdigest()
    assert left(target) == ["file.bin"]


def test_what_has_no_md5_is_checked_by_its_size(
    connect: Connect, start_service: Starter, target: Path
) -> None:
    bucket = FakeBucket()
    bucket.put("parts", BODY, part_size=100_000)
    bucket.put("kms", BODY, etag="0" * 32, encryption="aws:kms", checksum="crc64nvme")
    service = start_service(bucket)
    client = connect(url_of(service))
    assert client.trigger().in_sync is True
    for key in ("parts", "kms"):
        done = client.download(key, str(target))
        assert (done.verified, done.size) == ("size", len(BODY))
        assert target.read_bytes() == BODY


def test_a_file_that_is_not_there(connect: Connect, start_service: Starter, target: Path) -> None:
    client = connect(url_of(start_service()))
    with pytest.raises(NotFound) as caught:
        client.download("absent", target)
    assert (caught.value.error, target.read_bytes()) == ("FileMissing", b"old")
    with pytest.raises(NotFound), client.stream("absent"):
        pass
    assert left(target) == ["file.bin"]


# What breaks off


def test_a_download_goes_on_where_it_broke_off(connect: Connect, target: Path) -> None:
    with ScriptedServer() as server:
        server.script(end_after(100_000, of=BODY), good(BODY))
        done = connect(server.url).download("a", target)
        assert (done.size, done.etag, done.verified) == (len(BODY), etag(BODY), "md5")
        assert target.read_bytes() == BODY
        first, second = server.requests
    assert "range" not in first.headers
    assert first.headers["accept-encoding"] == "identity"
    assert 0 < int(second.headers["range"][len("bytes=") : -1]) <= 100_000
    assert second.headers["if-range"] == f'"{etag(BODY)}"'
    assert left(target) == ["file.bin"]


def test_another_version_begins_anew(connect: Connect, target: Path) -> None:
    with ScriptedServer() as server:
        whole = answer("200 OK", OTHER, ETag=f'"{etag(OTHER)}"')
        server.script(end_after(100_000, of=BODY), whole)
        assert connect(server.url).download("a", target).etag == etag(OTHER)
    assert target.read_bytes() == OTHER


def test_a_range_of_another_version_is_not_joined(connect: Connect, target: Path) -> None:
    with ScriptedServer() as server:
        server.script(end_after(100_000, of=BODY), good(BODY, ETag='"another"'))
        with pytest.raises(UnexpectedAnswer):
            connect(server.url).download("a", target)
    assert (left(target), target.read_bytes()) == (["file.bin"], b"old")


def test_a_download_that_moves_goes_on_for_as_long_as_it_takes(
    connect: Connect, target: Path
) -> None:
    def cut(peer: Any, seen: Any) -> bool:
        first = int(seen.headers.get("range", "bytes=0-")[len("bytes=") : -1])
        rest = BODY[first : first + 30_000]
        whole = f'Content-Length: {len(BODY) - first}\r\nETag: "{etag(BODY)}"\r\n'
        if not first:
            head = f"HTTP/1.1 200 OK\r\n{whole}\r\n"
        else:
            told = f"bytes {first}-{len(BODY) - 1}/{len(BODY)}"
            head = f"HTTP/1.1 206 Partial\r\n{whole}Content-Range: {told}\r\n\r\n"
        peer.send(head.encode() + rest)
        return False

    with ScriptedServer() as server:
        server.script(cut)
        assert connect(server.url, retries=1).download("a", target).verified == "md5"
        assert len(server.requests) > 5
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("count", [0, 1000])
def test_a_download_that_never_gets_further_leaves_nothing(
    connect: Connect, target: Path, count: int
) -> None:
    with ScriptedServer() as server:
        server.script(end_after(count, of=BODY))
        with pytest.raises(ServiceUnreachable):
            connect(server.url, retries=2).download("a", target)
        assert 3 <= len(server.requests) <= 4
        with pytest.raises(ServiceUnreachable):
            connect(server.url, retries=0).download("a", target)
    assert (left(target), target.read_bytes()) == (["file.bin"], b"old")


def test_a_download_that_stalls_leaves_nothing(connect: Connect, target: Path) -> None:
    with ScriptedServer() as server:
        server.script(stall_after(1000, of=BODY))
        with pytest.raises(ServiceTimeout):
            connect(server.url, timeout_seconds=0.2, retries=0).download("a", target)
    assert (left(target), target.read_bytes()) == (["file.bin"], b"old")


def test_a_stream_that_breaks_off_says_so(connect: Connect) -> None:
    with ScriptedServer() as server:
        server.script(end_after(1000, of=BODY))
        with pytest.raises(ServiceUnreachable), connect(server.url).stream("a") as stream:
            assert b"".join(stream)


def test_a_download_that_is_given_up_leaves_nothing(target: Path) -> None:
    async def give_up(server: ScriptedServer) -> None:
        async with AsyncClient(server.url) as client:
            task = asyncio.create_task(client.download("a", target))
            while not any(name.endswith(".part") for name in left(target)):
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with ScriptedServer() as server:
        server.script(stall_after(1000, of=BODY))
        asyncio.run(give_up(server))
        eventually(lambda: left(target) == ["file.bin"])
    assert target.read_bytes() == b"old"


# What is not the file


@pytest.mark.parametrize(
    ("tag", "verdict", "broken"),
    [
        (etag(OTHER), "md5", True),
        (etag(OTHER), "crc64nvme", False),
        ("f" * 32, "crc64nvme", True),  # of a version that came meanwhile
    ],
)
def test_wrong_bytes_are_not_put_in_place(
    connect: Connect, target: Path, tag: str, verdict: str, broken: bool
) -> None:
    with ScriptedServer() as server:
        server.script(answer("200 OK", BODY, ETag=f'"{etag(OTHER)}"'), entry("a", tag, verdict))
        client = connect(server.url)
        if broken:
            with pytest.raises(DownloadBroken):
                client.download("a", target)
            assert target.read_bytes() == b"old"
        else:
            assert client.download("a", target).verified == "size"
        assert server.requests[1].target == "/sync/files?source=local&prefix=a&limit=1"
    assert left(target) == ["file.bin"]


def test_a_body_that_was_compressed_on_its_way_is_refused(connect: Connect, target: Path) -> None:
    with ScriptedServer() as server:
        server.script(good(BODY, Content_Encoding="gzip"))
        with pytest.raises(UnexpectedAnswer, match="compressed"):
            connect(server.url).download("a", target)
    assert left(target) == ["file.bin"]


def test_a_service_that_cannot_give_the_file(connect: Connect, target: Path) -> None:
    body = b'{"error": "MirrorError", "detail": "the file cannot be read", "hint": ""}'
    with ScriptedServer() as server:
        server.script(answer("500 No", body))
        with pytest.raises(ServiceError, match="cannot be read"):
            connect(server.url).download("a", target)
        assert len(server.requests) == 1
    assert left(target) == ["file.bin"]


def test_a_place_where_no_file_can_be(connect: Connect, tmp_path: Path) -> None:
    client = connect("http://localhost:1")
    with pytest.raises(IsADirectoryError):
        client.download("a", tmp_path)
    with pytest.raises(FileNotFoundError):
        client.download("a", tmp_path / "no" / "folder")
