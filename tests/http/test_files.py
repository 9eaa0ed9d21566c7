"""GET /sync/files and GET/HEAD /sync/download/{key}: paging, hostile keys, validators, ranges."""

import asyncio
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote

import anyio.lowlevel
import pytest
from starlette.types import Message

from datasync.api.downloads import Download
from datasync.errors import MalformedRequest
from datasync.models.sync_models import ListedObject, ListingPage, Settlement
from datasync.services.file_service import make_token, read_token
from tests.support.fake_bucket import FakeBucket
from tests.support.service import Service, Starter
from tests.support.world import eventually

HOSTILE = [
    "plain.txt",
    "with space.txt",
    "plus+sign",
    "100%",
    "%2F",
    "a%20b",
    "a//b",
    "//",
    "/lead",
    "..",
    "../up",
    "a/../b",
    "./here",
    "what?no=1#frag",
    "nul\x00byte",
    "line\nfeed\r\nX-Evil: yes",
    'quo"te;x=1',
    "ünïcödé-🎉.txt",
    "back\\slash",
    "dir/file",
    ".datasync/x",
    "\u202egnp.exe",
]


@pytest.fixture
def hostile(start_service: Starter) -> Service:
    bucket = FakeBucket()
    for key in HOSTILE:
        bucket.put(key, b"body of " + key.encode())
    service = start_service(bucket)
    assert service.sync()["status"] == "success"
    return service


@pytest.fixture
def one(start_service: Starter) -> Service:
    bucket = FakeBucket()
    bucket.put("data.bin", bytes(range(256)) * 40, last_modified=1_700_000_000)
    service = start_service(bucket)
    assert service.sync()["in_sync"] is True
    return service


# Listing


@pytest.mark.parametrize("source", ["local", "s3"])
def test_pages_hold_every_key_once_in_byte_order(hostile: Service, source: str) -> None:
    keys, token, pages = [], None, 0
    while True:
        query = {"source": source, "limit": "4", **({"token": token} if token else {})}
        page = hostile.get("/sync/files", params=query)
        assert page["source"] == source
        keys += [entry["key"] for entry in page["files"]]
        pages += 1
        token = page["next_token"]
        if token is None:
            break
        assert len(page["files"]) == 4
    assert keys == sorted(HOSTILE, key=str.encode)
    assert pages == -(-len(HOSTILE) // 4)


@pytest.mark.parametrize("source", ["local", "s3"])
def test_an_entry_has_every_field(one: Service, source: str) -> None:
    [entry] = one.get("/sync/files", params={"source": source})["files"]
    assert entry == {
        "key": "data.bin",
        "size": 256 * 40,
        "last_modified": "2023-11-14T22:13:20Z",
        "etag": one.bucket.objects["data.bin"].etag,
        "state": "synced",
        "verdict": "md5",
        "path": "data.bin",
    }


def test_s3_shows_what_the_ledger_does_not_know_yet(one: Service) -> None:
    one.bucket.put("new", b"x")
    listed = one.get("/sync/files", params={"source": "s3"})["files"]
    assert [(e["key"], e["state"], e["path"]) for e in listed] == [
        ("data.bin", "synced", "data.bin"),
        ("new", None, None),
    ]
    assert len(one.get("/sync/files")["files"]) == 1


def test_s3_pages_ask_for_no_more_than_they_need(start_service: Starter) -> None:
    bucket = FakeBucket(page_size=10)
    for i in range(100):
        bucket.put(f"k{i:03}")
    service = start_service(bucket)
    before = bucket.counts["list"]
    page = service.get("/sync/files", params={"source": "s3", "limit": "10"})
    assert page["next_token"] is not None
    assert bucket.counts["list"] - before <= 2


@pytest.mark.parametrize("source", ["local", "s3"])
def test_a_prefix_narrows(hostile: Service, source: str) -> None:
    page = hostile.get("/sync/files", params={"source": source, "prefix": "a/"})
    assert [entry["key"] for entry in page["files"]] == ["a/../b", "a//b"]


def test_a_state_narrows(start_service: Starter) -> None:
    bucket = FakeBucket()
    for number in range(6):
        bucket.put(f"k{number}", b"x", storage_class="GLACIER" if number % 2 else "STANDARD")
    bucket.put("large", b"x" * (2**20 + 1))
    service = start_service(bucket, max_file_size_mb=1)
    service.sync()
    ask = {"state": ["archived", "oversize"], "limit": "2"}
    first = service.get("/sync/files", params=ask)
    assert [file["key"] for file in first["files"]] == ["k1", "k3"]
    rest = service.get("/sync/files", params={**ask, "token": first["next_token"], "limit": "9"})
    assert [(file["key"], file["state"]) for file in rest["files"]] == [
        ("k5", "archived"),
        ("large", "oversize"),
    ]
    assert rest["next_token"] is None


def test_a_state_is_of_the_mirror_only(one: Service) -> None:
    refused = one.get("/sync/files?source=s3&state=synced", 400)
    assert refused["error"] == "MalformedRequest"
    assert "cannot go with `source=s3`" in refused["detail"]
    assert "query.state" in one.get("/sync/files?state=nonsense", 422)["detail"]


def test_a_prefix_outside_the_scope_is_refused(start_service: Starter) -> None:
    service = start_service(s3_prefix="in/")
    assert service.get("/sync/files?prefix=out", 400)["error"] == "MalformedRequest"


def test_a_file_outside_the_scope_is_not_served(start_service: Starter) -> None:
    service = start_service(s3_prefix="in/")
    service.bucket.put("in/a", b"x")
    service.sync()
    row = service.parts.ledger.get("in/a")
    assert row is not None
    # As another S3_PREFIX has left it, until the engine has forgotten it.
    service.parts.ledger.settle(Settlement(rows=(replace(row, key="out/a"),)))
    assert service.api.get("/sync/download/in/a").content == b"x"
    assert service.get("/sync/download/out/a", 404)["error"] == "FileMissing"
    assert [one["key"] for one in service.get("/sync/files")["files"]] == ["in/a"]


@pytest.mark.parametrize("limit", ["0", "1001", "x", "1.5"])
def test_a_bad_limit_is_refused(service: Service, limit: str) -> None:
    assert service.get(f"/sync/files?limit={limit}", 422)["error"] == "UnprocessableRequest"


@pytest.mark.parametrize("query", ["source=disk", "token=abc", "token=", "token=%FF", "token=AAAA"])
def test_bad_sources_and_tokens_are_refused(service: Service, query: str) -> None:
    status = 422 if query.startswith("source") else 400
    assert set(service.get(f"/sync/files?{query}", status)) == {"error", "detail", "hint"}


def test_a_token_is_sealed_against_changes() -> None:
    token = make_token("some/key")
    assert read_token(token, "some/") == "some/key"
    for position in range(len(token)):
        other = "A" if token[position] != "A" else "B"
        with pytest.raises(MalformedRequest):
            read_token(token[:position] + other + token[position + 1 :], "some/")
    with pytest.raises(MalformedRequest):
        read_token(token, "other/")


def test_keys_without_a_file_are_listed_with_their_state(start_service: Starter) -> None:
    bucket = FakeBucket()
    bucket.put("cold", b"x", storage_class="GLACIER")
    bucket.put("big", b"x" * (2**20 + 1))
    service = start_service(bucket, max_file_size_mb=1)
    service.sync()
    listed = {e["key"]: e for e in service.get("/sync/files")["files"]}
    assert (listed["cold"]["state"], listed["cold"]["path"]) == ("archived", None)
    assert (listed["big"]["state"], listed["big"]["verdict"]) == ("oversize", None)
    stats = service.get("/sync/stats")
    assert (stats["archived"], stats["oversize"]) == (1, 1)
    assert service.get("/sync/download/cold", 404)["error"] == "FileMissing"


def test_illegal_keys_of_the_bucket_are_listed_once_and_cut_no_page_off(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = ["a", "b", "\\xff1", "\\xff2", "c", "\\xff3", "d"]

    def listed(_prefix: str, after: str) -> Iterator[ListingPage]:
        wanted = named[named.index(after) + 1 :] if after else named
        for key in wanted:
            problem = "the key is not UTF-8" if key.startswith("\\") else None
            entry = ListedObject(key, 1, "e", 0, problem=problem)
            yield ListingPage((entry,), last=key == named[-1])

    monkeypatch.setattr(service.bucket, "list", listed)
    for limit in range(1, 6):
        keys: list[str] = []
        token: str | None = ""
        while token is not None:
            query = {"source": "s3", "limit": str(limit), **({"token": token} if token else {})}
            page = service.get("/sync/files", params=query)
            keys += [entry["key"] for entry in page["files"]]
            token = page["next_token"]
        assert keys == named


# Downloading


def test_every_key_can_be_downloaded_by_its_raw_path(hostile: Service) -> None:
    for key in HOSTILE:
        status, head, body = hostile.get_raw("/sync/download/" + quote(key, safe="/"))
        assert (status, body) == (200, b"body of " + key.encode()), key
        assert "\r\nx-evil" not in head
        assert "\r\ncontent-disposition: attachment; filename=" in head


def test_unencoded_dots_and_slashes_in_the_path_are_the_key(hostile: Service) -> None:
    for key in ("a//b", "//", "/lead", "..", "../up", "a/../b", "./here"):
        status, _, body = hostile.get_raw("/sync/download/" + key)
        assert (status, body) == (200, b"body of " + key.encode()), key


def test_a_key_is_decoded_exactly_once(hostile: Service) -> None:
    assert hostile.get_raw("/sync/download/%252F")[2] == b"body of %2F"
    assert hostile.get_raw("/sync/download/a%2520b")[2] == b"body of a%20b"
    assert hostile.get_raw("/sync/download/plus+sign")[2] == b"body of plus+sign"
    assert hostile.get_raw("/sync/download/dir%2Ffile")[2] == b"body of dir/file"
    assert hostile.get_raw("/sync/download/a%20b")[0] == 404


@pytest.mark.parametrize("path", ["%FF", "%C3%28", "%ED%A0%80"])
def test_a_key_that_is_not_utf8_is_refused(service: Service, path: str) -> None:
    status, _, body = service.get_raw(f"/sync/download/{path}")
    assert status == 400
    assert b'"MalformedRequest"' in body


def test_the_headers_describe_the_file(one: Service) -> None:
    answer = one.api.get("/sync/download/data.bin")
    etag = one.bucket.objects["data.bin"].etag
    assert answer.headers["etag"] == f'"{etag}"'
    assert answer.headers["last-modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert answer.headers["content-length"] == "10240"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"] == 'attachment; filename="data.bin"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["content-type"] == "application/octet-stream"


def test_head_is_get_without_the_body(one: Service) -> None:
    full, head = one.api.get("/sync/download/data.bin"), one.api.head("/sync/download/data.bin")
    assert (head.status_code, head.content) == (200, b"")
    assert {k: v for k, v in head.headers.items() if k not in ("date", "x-request-id")} == {
        k: v for k, v in full.headers.items() if k not in ("date", "x-request-id")
    }
    assert one.api.head("/sync/download/nothing").status_code == 404


@pytest.mark.parametrize(
    "asked, status, content_range, length",
    [
        ("bytes=0-0", 206, "bytes 0-0/10240", 1),
        ("bytes=0-99", 206, "bytes 0-99/10240", 100),
        ("bytes=10000-", 206, "bytes 10000-10239/10240", 240),
        ("bytes=-40", 206, "bytes 10200-10239/10240", 40),
        ("bytes=0-99999", 206, "bytes 0-10239/10240", 10240),
        ("bytes=5-2", 200, None, 10240),
        ("bytes=abc", 200, None, 10240),
        ("lines=0-9", 200, None, 10240),
        ("bytes=", 200, None, 10240),
    ],
)
def test_ranges(
    one: Service, asked: str, status: int, content_range: str | None, length: int
) -> None:
    answer = one.api.get("/sync/download/data.bin", headers={"Range": asked})
    assert answer.status_code == status
    assert answer.headers.get("content-range") == content_range
    assert len(answer.content) == length


def test_the_bytes_of_a_range_are_the_files(one: Service) -> None:
    body = one.bucket.objects["data.bin"].body
    answer = one.api.get("/sync/download/data.bin", headers={"Range": "bytes=300-599"})
    assert answer.content == body[300:600]
    several = one.api.get("/sync/download/data.bin", headers={"Range": "bytes=0-9, 100-109"})
    assert several.status_code == 206
    assert several.headers["content-type"].startswith("multipart/byteranges")
    assert body[:10] in several.content and body[100:110] in several.content


def test_a_range_beyond_the_end_is_416_in_the_shape_of_every_error(one: Service) -> None:
    answer = one.api.get("/sync/download/data.bin", headers={"Range": "bytes=10240-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */10240"
    assert answer.json()["error"] == "RangeUnsatisfiable"


def test_if_range_of_another_version_gives_the_whole_file(one: Service) -> None:
    etag = one.bucket.objects["data.bin"].etag
    for value, status in ((f'"{etag}"', 206), ('"other"', 200)):
        headers = {"Range": "bytes=0-9", "If-Range": value}
        assert one.api.get("/sync/download/data.bin", headers=headers).status_code == status


def test_a_present_copy_is_not_sent_again(one: Service) -> None:
    etag = one.bucket.objects["data.bin"].etag
    date = "Tue, 14 Nov 2023 22:13:20 GMT"
    earlier = "Tue, 14 Nov 2023 22:13:19 GMT"
    for headers, status in (
        ({"If-None-Match": f'"{etag}"'}, 304),
        ({"If-None-Match": f'W/"{etag}", "x"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-None-Match": '"other"', "If-Modified-Since": date}, 200),
        ({"If-Modified-Since": date}, 304),
        ({"If-Modified-Since": earlier}, 200),
        ({"If-Modified-Since": "yesterday"}, 200),
    ):
        answer = one.api.get("/sync/download/data.bin", headers=headers)
        assert answer.status_code == status, headers
        if status == 304:
            assert answer.content == b""
            assert answer.headers["etag"] == f'"{etag}"'


def test_another_version_than_the_one_insisted_on_is_412(one: Service) -> None:
    etag = one.bucket.objects["data.bin"].etag
    date = "Tue, 14 Nov 2023 22:13:20 GMT"
    earlier = "Tue, 14 Nov 2023 22:13:19 GMT"
    for headers, status in (
        ({"If-Match": f'"{etag}"'}, 200),
        ({"If-Match": f'"x", "{etag}"'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-Match": f'W/"{etag}"'}, 412),  # a weak tag proves no bytes
        ({"If-Match": '"other"', "If-None-Match": f'"{etag}"'}, 412),
        ({"If-Match": f'"{etag}"', "If-None-Match": f'"{etag}"'}, 304),
        ({"If-Match": f'"{etag}"', "If-Unmodified-Since": earlier}, 200),
        ({"If-Match": f'"{etag}"', "Range": "bytes=0-9"}, 206),
        ({"If-Match": '"other"', "Range": "bytes=0-9"}, 412),
        ({"If-Unmodified-Since": date}, 200),
        ({"If-Unmodified-Since": earlier}, 412),
        ({"If-Unmodified-Since": "yesterday"}, 200),
    ):
        answer = one.api.get("/sync/download/data.bin", headers=headers)
        assert answer.status_code == status, headers
        assert one.api.head("/sync/download/data.bin", headers=headers).status_code in (
            {206: 200}.get(status, status),
        )
        if status == 412:
            assert set(answer.json()) == {"error", "detail", "hint"}
            assert answer.headers["etag"] == f'"{etag}"'
            assert answer.headers["last-modified"] == date


def test_a_list_of_versions_may_be_spread_over_several_lines(one: Service) -> None:
    etag = one.bucket.objects["data.bin"].etag
    for name, status in (("If-Match", 200), ("If-None-Match", 304)):
        lines = (f'{name}: "other"', f'{name}: "{etag}"')
        assert one.get_raw("/sync/download/data.bin", *lines)[0] == status


def test_an_empty_file_and_html_are_only_ever_attachments(start_service: Starter) -> None:
    bucket = FakeBucket()
    bucket.put("empty", b"")
    bucket.put("page.html", b"<script>alert(1)</script>")
    service = start_service(bucket)
    service.sync()
    assert service.api.get("/sync/download/empty").content == b""
    page = service.api.get("/sync/download/page.html")
    assert page.headers["content-disposition"].startswith("attachment")
    assert page.headers["content-security-policy"] == "sandbox; default-src 'none'"


def test_what_the_ledger_does_not_hold_is_404_whatever_lies_on_the_disk(one: Service) -> None:
    (one.root / "stranger").write_text("not ours")
    for key in ("stranger", "nothing", ".datasync/ledger.db", "..%2Fservice.log"):
        status, _, body = one.get_raw(f"/sync/download/{key}")
        assert status == 404, key
        assert b'"FileMissing"' in body
        assert str(one.folder).encode() not in body


def test_a_file_that_was_edited_is_409_and_one_that_is_gone_404(one: Service) -> None:
    path = one.root / "data.bin"
    path.write_bytes(b"edited by hand")
    assert one.get("/sync/download/data.bin", 409)["error"] == "FileDrifted"
    path.unlink()
    assert one.get("/sync/download/data.bin", 404)["error"] == "FileMissing"


def test_a_link_in_the_place_of_a_file_is_never_followed(one: Service) -> None:
    secret = one.folder / "secret"
    secret.write_bytes(one.bucket.objects["data.bin"].body)
    os.utime(secret, ns=(0, (one.root / "data.bin").stat().st_mtime_ns))
    (one.root / "data.bin").unlink()
    (one.root / "data.bin").symlink_to(secret)
    answer = one.api.get("/sync/download/data.bin")
    assert answer.status_code in (404, 409)
    assert answer.json()["error"] in ("FileMissing", "PathConflict", "FileDrifted")


def _descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def test_no_descriptor_is_left_open_however_a_download_ends(start_service: Starter) -> None:
    bucket = FakeBucket()
    bucket.put("big", b"x" * 4_000_000)
    service = start_service(bucket)
    service.sync()
    etag = bucket.objects["big"].etag
    service.api.get("/sync/download/big")

    def ask() -> None:
        service.api.get("/sync/download/big", headers={"Range": "bytes=9999999-"})
        service.api.get("/sync/download/big", headers={"If-None-Match": f'"{etag}"'})
        service.api.get("/sync/download/big", headers={"If-Match": '"other"'})
        service.api.head("/sync/download/big")
        with service.api.stream("GET", "/sync/download/big") as answer:
            next(answer.iter_raw(1000))  # and hang up

    ask()
    eventually(lambda: service.log().count('"path": "/sync/download/big"') >= 6)
    before = _descriptors()
    for _ in range(10):
        ask()
    eventually(lambda: service.log().count('"path": "/sync/download/big"') >= 56)
    eventually(lambda: _descriptors() <= before + 2)


def test_nothing_more_is_read_once_the_client_hung_up(one: Service) -> None:
    opened = one.parts.controller.open("data.bin")
    answer = Download(opened)
    answer.chunk_size = 100
    sent: list[Message] = []

    async def download() -> None:
        hung_up = asyncio.Event()
        messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Message:
            if (message := next(messages, None)) is None:
                await hung_up.wait()
                return {"type": "http.disconnect"}
            return message

        async def send(message: Message) -> None:
            sent.append(message)
            if len(sent) == 3:
                hung_up.set()
                await anyio.lowlevel.checkpoint()

        await answer({"type": "http", "method": "GET", "headers": []}, receive, send)

    asyncio.run(download())
    assert [message["type"] for message in sent[:2]] == [
        "http.response.start",
        "http.response.body",
    ]
    assert len(sent) < 10  # of more than a hundred
    with pytest.raises(OSError):
        os.fstat(opened.descriptor)


def test_many_downloads_at_once(one: Service) -> None:
    body = one.bucket.objects["data.bin"].body
    wrong: list[int] = []

    def fetch() -> None:
        for _ in range(10):
            answer = one.api.get("/sync/download/data.bin")
            if answer.content != body:
                wrong.append(answer.status_code)

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
