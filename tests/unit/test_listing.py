"""Listing pages: what is read from good ones, and that no bad one is ever believed."""

from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasync.errors import (
    AccessDenied,
    BucketError,
    BucketMissing,
    CredentialsRejected,
    ListingBroken,
    NetworkFailure,
    RedirectRefused,
    ServerFault,
    SlowDown,
    TransferStalled,
    UnexpectedAnswer,
)
from datasync.models.sync_models import ListedObject, ListingPage
from datasync.services.storage.bucket import S3Bucket
from datasync.services.storage.s3.credentials import source
from datasync.services.storage.s3.endpoint import S3Config
from datasync.services.storage.s3.dates import from_http, from_iso
from datasync.services.storage.s3.pages import parse_page
from tests.support.scripted_server import (
    Reply,
    ScriptedServer,
    answer,
    error_document,
    head,
    raw,
    refuse,
    stall_before_head,
)
from tests.support.xml_pages import DATE, entry, page, truncated

WHEN = 1795422446
CUT = page(entry("a"))[:-10]
RESTORED = "<IsRestoreInProgress>false</IsRestoreInProgress>"
ENTITY = b'<!DOCTYPE a [<!ENTITY e "x">]>'
HTML = b"<!DOCTYPE html><html><body>Please log in</body></html>"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def bucket(server: ScriptedServer) -> Iterator[S3Bucket]:
    bucket = S3Bucket(S3Config("bucket", "us-east-1", server.url, source("key", "secret")))
    yield bucket
    bucket.close()


def keys(pages: list[ListingPage]) -> list[str]:
    return [each.key for page in pages for each in page.objects]


def only(body: bytes, prefix: str = "") -> ListedObject:
    (found,) = parse_page(body, "bucket", prefix).objects
    return found


# What a page says


def test_reads_what_s3_says_of_an_object() -> None:
    cold = "<IsRestoreInProgress>false</IsRestoreInProgress><RestoreExpiryDate/>"
    found = only(page(entry("a", Size="7", StorageClass="GLACIER", RestoreStatus=cold)))

    assert found == ListedObject("a", 7, "e1", WHEN, "GLACIER", restored=True)


def test_a_restore_in_progress_is_not_restored() -> None:
    cold = "<IsRestoreInProgress>true</IsRestoreInProgress>"

    assert not only(page(entry("a", StorageClass="GLACIER", RestoreStatus=cold))).restored


def test_a_missing_storage_class_is_standard() -> None:
    assert only(page(entry("a", StorageClass="-"))).storage_class == "STANDARD"


def test_reads_a_page_without_namespace_and_encoding() -> None:
    assert only(page(entry("a%20+b"), namespace="", EncodingType="-")).key == "a%20+b"


def test_several_checksum_algorithms_are_no_contradiction() -> None:
    two = entry("a").replace(
        "<Size>", "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm>" * 2 + "<Size>"
    )

    assert only(page(two)).key == "a"


def test_comments_between_the_fields_and_fields_of_tomorrow_change_nothing() -> None:
    more = "<!-- 1 --><New><Deep/></New><New/><Key2>x</Key2><!-- 2 -->"
    body = page(entry("a").replace("<Size>", f"{more}<Size>"), Name=f"bucket</Name>{more}<Name2>")
    body = body.replace(b"<Name2></Name>", b"<Name2/>")

    assert only(body).key == "a"


def test_an_empty_restore_status_is_none() -> None:
    assert not only(page(entry("a", RestoreStatus=""))).restored


def test_the_largest_size_that_every_ledger_holds() -> None:
    assert only(page(entry("a", Size="9" * 18))).size == 10**18 - 1


# A "-" is the helper's own word for a field that is left out.
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(KEYS.filter(lambda key: key != "-"))
def test_decodes_every_key_exactly_once_in_both_dialects(key: str) -> None:
    assert only(page(entry(quote_plus(key, safe="/")))).key == key
    assert only(page(entry(quote(key)))).key == key


@pytest.mark.parametrize(
    ("listed", "key", "problem"),
    [
        ("a%FFb", "a\\xffb", "its key is not UTF-8"),
        ("k" * 1025, "k" * 1025, "its key has 1025 bytes, over 1024"),
        ("%C3%BC" * 513, "ü" * 513, "its key has 1026 bytes, over 1024"),
        ("100%", "100%", "broken escape in its listed key"),
    ],
)
def test_a_key_that_is_none_is_told_apart(listed: str, key: str, problem: str) -> None:
    found = only(page(entry(listed)))

    assert (found.key, found.problem) == (key, problem)


def test_a_key_of_1024_bytes_is_a_key() -> None:
    assert only(page(entry("%C3%BC" * 512))).problem is None


@pytest.mark.parametrize("echo", ["dir a+", "dir+a%2B", "dir%20a%2B"])
def test_the_prefix_may_be_echoed_raw_or_encoded(echo: str) -> None:
    body = page(entry("dir+a%2Bx"), Prefix=echo)

    assert only(body, "dir a+").key == "dir a+x"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T23:59:59.999Z", 951868799),
        ("2026-11-23T08:27:26.123456789Z", WHEN),
    ],
)
def test_reads_dates(text: str, seconds: int) -> None:
    assert from_iso(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Mon, 23 Nov 2026 08:27:26 GMT", WHEN),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        ("Sun Nov  6 08:49:37 1994", 784111777),
        ("Mon, 23 Nov 2026 09:27:26 +0100", WHEN),
        ("Thu, 01 Jan 1960 00:00:00 GMT", -315619200),
    ],
)
def test_reads_the_dates_of_headers(text: str, seconds: int) -> None:
    assert from_http(text) == seconds


@pytest.mark.parametrize("text", ["", "tomorrow", "Mon, 30 Feb 2026 08:27:26 GMT", "1 2 3 4 5"])
def test_what_is_no_date_in_a_header(text: str) -> None:
    with pytest.raises(ValueError):
        from_http(text)


# What no page may say

BROKEN = {
    "empty": b"",
    "a blank": b" ",
    "html": HTML,
    "json": b'{"keys": []}',
    "cut": CUT,
    "cut inside the root's end": page(entry("a"))[:-1],
    "two documents": page(entry("a")) + page(entry("b")),
    "an error in a 200": error_document("InternalError"),
    "another document": b"<ListAllMyBucketsResult/>",
    "version 1 with a truncated page": page(entry("a"), IsTruncated="true", NextMarker="a"),
    "no name": page(entry("a"), Name="-"),
    "another bucket": page(entry("a"), bucket="other"),
    "another prefix": page(entry("a"), Prefix="x"),
    "unknown encoding": page(entry("a"), EncodingType="base64"),
    "no word on truncation": page(entry("a"), IsTruncated="-"),
    "a strange word on truncation": page(entry("a"), IsTruncated="False"),
    "truncated without a token": page(entry("a"), IsTruncated="true"),
    "truncated with an empty token": truncated(entry("a"), token=""),
    "fewer entries than counted": page(entry("a"), KeyCount="2"),
    "more entries than counted": page(entry("a"), entry("b"), KeyCount="1"),
    "common prefixes": page(entry("a"), CommonPrefixes="<Prefix>b/</Prefix>"),
    "an empty key": page(entry("")),
    "no key": page(entry("-")),
    "two keys": page(entry("a</Key><Key>b")),
    "no size": page(entry("a", Size="-")),
    "negative size": page(entry("a", Size="-1")),
    "size in words": page(entry("a", Size="three")),
    "size of foreign digits": page(entry("a", Size="\u0663")),
    "size without end": page(entry("a", Size="9" * 20)),
    "a size no ledger holds": page(entry("a", Size="9223372036854775808")),
    "no etag": page(entry("a", ETag="-")),
    "an etag of two lines": page(entry("a", ETag="e1&#13;&#10;x-evil: 1")),
    "no date": page(entry("a", LastModified="-")),
    "a local date": page(entry("a", LastModified="2026-11-23 08:27:26")),
    "month 13": page(entry("a", LastModified=DATE.replace("-11-", "-13-"))),
    "the 30th of February": page(entry("a", LastModified=DATE.replace("-11-23", "-02-30"))),
    "hour 25": page(entry("a", LastModified=DATE.replace("T08", "T25"))),
    "an entity": ENTITY + page(entry("&e;"))[39:],
    "an entity far down": b"<!--" + b"x" * 2000 + b"-->" + ENTITY + page(entry("a&e;"))[39:],
    "a document type": b"<!DOCTYPE a>" + page(entry("a"))[39:],
    "a document type far down": b"<!--" + b"x" * 2000 + b"--><!doctype a>".upper() + page()[39:],
    "a comment in a key": page(entry("a<!-- c -->tail")),
    "an element in a key": page(entry("a<b/>tail")),
    "an instruction in a size": page(entry("a", Size="3<?x?>3")),
    "a comment in the name": page(entry("a"), Name="bucket<!-- c -->2"),
    "two words on truncation": page(entry("a"), IsTruncated="true</IsTruncated><IsTruncated>false"),
    "two tokens": truncated(entry("a"), token="t</NextContinuationToken><NextContinuationToken>u"),
    "two prefixes": page(entry("a"), Prefix="</Prefix><Prefix>"),
    "two restore states": page(entry("a", RestoreStatus=RESTORED + RESTORED)),
    "two words on a restore": page(
        entry("a", RestoreStatus=f"{RESTORED}</RestoreStatus><RestoreStatus>")
    ),
    "a comment in a restore state": page(
        entry("a", RestoreStatus=RESTORED.replace("fa", "fa<!---->"))
    ),
    "a control character": page(entry("a\x01")),
    "not utf-8": page(entry("a")).replace(b"e1", b"\xff"),
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_a_broken_page_is_never_believed(body: bytes) -> None:
    with pytest.raises(ListingBroken):
        parse_page(body, "bucket", "")


def test_a_key_outside_the_prefix_breaks_the_listing() -> None:
    with pytest.raises(ListingBroken):
        parse_page(page(entry("dir/a"), entry("other"), Prefix="dir/"), "bucket", "dir/")


@given(st.integers(0, len(page(entry("a"), entry("b"))) - 1))
def test_no_cut_of_a_page_is_a_page(length: int) -> None:
    with pytest.raises(ListingBroken):
        parse_page(page(entry("a"), entry("b"))[:length], "bucket", "")


# The whole listing


def test_follows_the_tokens_to_the_end(server: ScriptedServer, bucket: S3Bucket) -> None:
    first, second = truncated(entry("a"), token="t+/="), truncated(entry("b"), token="u")
    server.script(answer("200 OK", first), answer("200 OK", second), answer("200 OK", page()))

    pages = list(bucket.list(start_after="0 1"))

    assert keys(pages) == ["a", "b"]
    assert [each.last for each in pages] == [False, False, True]
    assert "start-after=0%201" in server.requests[0].target
    assert "continuation-token=t%2B%2F%3D" in server.requests[1].target
    assert "start-after" not in server.requests[1].target
    assert server.connections == 1


def test_asks_for_encoded_keys_and_the_restore_status(
    server: ScriptedServer, bucket: S3Bucket
) -> None:
    server.script(answer("200 OK", page(Prefix="p")))

    list(bucket.list(prefix="p"))

    (seen,) = server.requests
    assert seen.target == "/bucket?encoding-type=url&list-type=2&max-keys=1000&prefix=p"
    assert seen.headers["x-amz-optional-object-attributes"] == "RestoreStatus"


@pytest.mark.parametrize("status", ["400 Bad Request", "501 Not Implemented"])
def test_does_without_the_restore_status_where_it_is_refused(
    server: ScriptedServer, bucket: S3Bucket, status: str
) -> None:
    no = answer(status, error_document("NotImplemented"))
    server.script(no, answer("200 OK", page(entry("a"))))

    assert keys(list(bucket.list())) == keys(list(bucket.list())) == ["a"]
    asked = ["x-amz-optional-object-attributes" in seen.headers for seen in server.requests]
    assert asked == [True, False, False]


def test_a_fault_that_passes_does_not_cost_the_restore_status(
    server: ScriptedServer, bucket: S3Bucket
) -> None:
    late = answer("400 Bad Request", error_document("RequestTimeout"))
    server.script(late, answer("200 OK", page(entry("a"))))

    with pytest.raises(ServerFault):
        list(bucket.list())
    list(bucket.list())

    assert all("x-amz-optional-object-attributes" in seen.headers for seen in server.requests)


@pytest.mark.parametrize("tokens", [["t", "t"], ["t", "u", "t"]])
def test_a_token_seen_before_ends_the_listing(
    server: ScriptedServer, bucket: S3Bucket, tokens: list[str]
) -> None:
    server.script(*[answer("200 OK", truncated(entry("a"), token=token)) for token in tokens])

    with pytest.raises(ListingBroken, match="circles"):
        list(bucket.list())


def test_empty_pages_do_not_go_on_for_ever(server: ScriptedServer, bucket: S3Bucket) -> None:
    pages = [answer("200 OK", truncated(token=f"t{number}")) for number in range(1001)]
    server.script(*pages, answer("200 OK", page()))

    with pytest.raises(ListingBroken, match="circles"):
        list(bucket.list())


LISTING_FAILS: dict[str, tuple[Reply, type[BucketError]]] = {
    "html": (answer("200 OK", HTML), ListingBroken),
    "empty": (answer("200 OK"), ListingBroken),
    "no content": (raw(head("204 No Content", None)), UnexpectedAnswer),
    "cut on the way": (raw(head("200 OK", 500) + page()), NetworkFailure),
    "cut by the server": (answer("200 OK", CUT), ListingBroken),
    "too large": (answer("200 OK", b" " * (16 * 2**20 + 1)), UnexpectedAnswer),
    "no bucket": (refuse("404 Not Found", "NoSuchBucket"), BucketMissing),
    "a strange 404": (answer("404 Not Found", HTML), UnexpectedAnswer),
    "no such key": (refuse("404 Not Found", "NoSuchKey"), UnexpectedAnswer),
    "denied": (refuse("403 Forbidden", "AccessDenied"), AccessDenied),
    "bad keys": (refuse("403 Forbidden", "SignatureDoesNotMatch"), CredentialsRejected),
    "expired": (refuse("400 Bad Request", "ExpiredToken"), CredentialsRejected),
    "moved": (refuse("301 Moved Permanently", "PermanentRedirect"), RedirectRefused),
    "slow down": (refuse("503 Slow Down", "SlowDown"), SlowDown),
    "broken": (refuse("500 Internal Server Error", "InternalError"), ServerFault),
    "not modified": (raw(head("304 Not Modified", None)), UnexpectedAnswer),
    "silence": (stall_before_head(), TransferStalled),
}


@pytest.mark.parametrize(("reply", "error"), LISTING_FAILS.values(), ids=LISTING_FAILS)
def test_a_listing_is_complete_or_raises(
    server: ScriptedServer, reply: Reply, error: type[BucketError]
) -> None:
    given = S3Config("bucket", "us-east-1", server.url, source("k", "s"), timeout_seconds=0.2)
    bucket = S3Bucket(given)
    server.script(answer("200 OK", truncated(entry("a"), token="t")), reply)

    pages = bucket.list()
    assert not next(pages).last
    with pytest.raises(BucketError) as caught:
        next(pages)

    assert type(caught.value) is error
    bucket.close()


def test_the_check_lists_below_the_prefix(server: ScriptedServer) -> None:
    bucket = S3Bucket(S3Config("bucket", "us-east-1", server.url, source("k", "s"), prefix="p/"))
    server.script(answer("200 OK", page(Prefix="p/")))

    bucket.check(5.0)

    target = server.requests[0].target
    assert target == "/bucket?encoding-type=url&list-type=2&max-keys=1&prefix=p%2F"
    bucket.close()


def test_the_check_has_a_time_limit(server: ScriptedServer, bucket: S3Bucket) -> None:
    server.script(stall_before_head())

    with pytest.raises(TransferStalled, match="within 0.1 seconds") as caught:
        bucket.check(0.1)
    assert "DOWNLOAD_TIMEOUT_SECONDS" not in caught.value.hint  # it would change nothing
    assert "network" in caught.value.hint
