"""The faster way to read a page gives what the XML parser gives, or leaves the page to it."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasync.errors import ListingBroken
from datasync.models.entries import Entries
from datasync.models.sync_models import ListedObject
from datasync.services.storage.s3.pages import Page, parse_any_page, parse_page
from datasync.services.storage.s3.usual_entries import usual_entries
from tests.support.xml_pages import DATE, entry, page, truncated

Verdict = tuple[tuple[ListedObject, ...], str | None] | str
RESTORED = "<IsRestoreInProgress>false</IsRestoreInProgress>"
EXPIRY = "<RestoreExpiryDate>2026-12-01T00:00:00.000Z</RestoreExpiryDate>"
OWNER = "<Owner><ID>75aa57f09aa0c8caeab4f8c24e99d10f</ID><DisplayName>me &amp; you</DisplayName>"


def verdict(parse: Callable[[bytes, str, str], Page], body: bytes, prefix: str = "") -> Verdict:
    """What a way of reading says of a page: its objects and token, or why it is refused."""
    try:
        found = parse(body, "bucket", prefix)
    except ListingBroken as error:
        return str(error)
    return tuple(found.objects), found.token


def assert_same(body: bytes, prefix: str = "") -> None:
    assert verdict(parse_page, body, prefix) == verdict(parse_any_page, body, prefix), body


def is_usual(body: bytes, prefix: str = "") -> bool:
    """Whether the faster way read the page."""
    return isinstance(parse_page(body, "bucket", prefix).objects, Entries)


def contents(*fields: str) -> str:
    return f"<Contents>{''.join(fields)}</Contents>"


KEY = "<Key>dt%3D1/a+b%C3%BC</Key>"
MODIFIED, SIZE = f"<LastModified>{DATE}</LastModified>", "<Size>3</Size>"
CLASS = "<StorageClass>STANDARD_IA</StorageClass>"
CHECKSUM = (
    "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>"
)
ID = "<Owner><ID>75aa57f0</ID><DisplayName>M. Tester</DisplayName></Owner>"
SERVERS = {
    "AWS": contents(KEY, MODIFIED, "<ETag>&quot;e1-2&quot;</ETag>", CHECKSUM, SIZE, CLASS),
    "AWS, restored": contents(
        KEY,
        MODIFIED,
        "<ETag>&quot;e1&quot;</ETag>",
        SIZE,
        "<StorageClass>GLACIER</StorageClass>",
        f"<RestoreStatus>{RESTORED}{EXPIRY}</RestoreStatus>",
    ),
    "MinIO": contents(KEY, MODIFIED, "<ETag>&#34;e1&#34;</ETag>", SIZE, ID, CLASS),
    "Ceph": contents(KEY, MODIFIED, "<ETag>&quot;e1&quot;</ETag>", SIZE, CLASS, ID)[:-11]
    + "<Type>Normal</Type></Contents>",
    "SeaweedFS": contents(KEY, "<ETag>&#34;e1&#34;</ETag>", SIZE, CLASS, MODIFIED),
    "bare quotes": contents(KEY, MODIFIED, '<ETag>"e1"</ETag>', SIZE, CLASS),
    "no class": contents(KEY, SIZE, MODIFIED, "<ETag>e1</ETag>"),
}


@pytest.mark.parametrize("written", SERVERS.values(), ids=SERVERS)
def test_what_servers_write_is_read_the_faster_way(written: str) -> None:
    other = written.replace("dt%3D1", "dt%3D2").replace("e1", "e2")

    for prefix in ("", "dt="):
        body = truncated(written, other, token="t", Prefix=prefix)
        assert is_usual(body, prefix)
        assert_same(body, prefix)


@pytest.mark.parametrize(
    "body",
    [
        page(entry("a"), entry("b", StorageClass="-"), entry("c", RestoreStatus=RESTORED)),
        page(entry("a"), KeyCount="-", namespace=""),
        page(entry("a%20+b"), EncodingType="-"),
        page(entry("k" * 1024)),
        page(entry("a"), entry("b"))[len('<?xml version="1.0" encoding="UTF-8"?>\n') :],
        page(entry("a")).replace(b'"UTF-8"', b"'utf-8'"),
    ],
)
def test_other_usual_pages(body: bytes) -> None:
    assert is_usual(body)
    assert_same(body)


UNUSUAL = {
    "a page without entries": page(),
    "a blank between entries": page(entry("a"), " ", entry("b"), KeyCount="2"),
    "a comment between entries": page(entry("a"), "<!-- c -->", entry("b"), KeyCount="2"),
    "another element between entries": page(entry("a"), "<New/>", entry("b"), KeyCount="2"),
    "an attribute": page(entry("a").replace("<Key>", '<Key x="1">')),
    "a namespace": page(entry("a").replace("<Contents>", '<Contents xmlns="x">'), entry("b")),
    "a field of tomorrow": page(entry("a").replace("<Size>", "<New/><Size>")),
    "an escape of XML in a key": page(entry("a&amp;b")),
    "an escape of XML in an owner": page(entry("a", Owner=f"{OWNER}</Owner>"[7:-8])),
    "CDATA": page(entry("<![CDATA[a]]>")),
    "a key in raw UTF-8": page(entry("ü"), EncodingType="-"),
    "a line feed in a key": page(entry("a%0Ab"), entry("a%0ac")),
    "a broken escape": page(entry("100%"), entry("b")),
    "a key that is not UTF-8": page(entry("a%FF"), entry("b")),
    "a key that is too long": page(entry("k" * 1025), entry("b")),
    "a key that is too long once decoded": page(entry("%C3%BC" * 513)),
    "a weak ETag": page(entry("a", ETag="W/&quot;e1&quot;")),
    "an empty ETag": page(entry("a", ETag="")),
    "an empty restore status": page(entry("a", RestoreStatus="")),
    "another encoding": page(entry("a")).replace(b"UTF-8", b"ISO-8859-1"),
    "a byte order mark": b"\xef\xbb\xbf" + page(entry("a")),
    "a comment before": b"<!-- c -->" + page(entry("a"))[39:],
    "the stand-in's name": page(entry("a"), Other="entries-that-were-cut-out-here"),
    "entries that differ in their order": page(
        entry("a"), contents("<Key>b</Key>", SIZE, "<ETag>e</ETag>", MODIFIED)
    ),
    "entries in a comment": page("<!--", entry("a"), "-->", KeyCount="-"),
    "entries in CDATA": page("<![CDATA[", entry("a"), "]]>", KeyCount="-"),
    "entries in an instruction": page("<?x ", entry("a"), "?>", KeyCount="-"),
    "entries in another element": page("<Deep>", entry("a"), "</Deep>", KeyCount="-"),
    "some entries in a comment": page(entry("a"), "<!--", entry("b"), "-->", KeyCount="-"),
    "the same under another prefix": page(
        f'<!--{entry("a")}--><s:Contents xmlns:s="s">{entry("b")[10:-11]}</s:Contents>'
    ),
    "a stand-in of its own beside hidden entries": page(
        "<entries-that-were-cut-out-here/><!--", entry("a"), "-->", KeyCount="-"
    ),
}


@pytest.mark.parametrize("body", UNUSUAL.values(), ids=UNUSUAL)
def test_what_is_unusual_is_left_to_the_parser(body: bytes) -> None:
    assert not is_usual(body)
    assert_same(body)


def test_nothing_but_entries_is_entries() -> None:
    assert usual_entries(b"", True) is None
    assert usual_entries(b"</Contents>", True) is None
    assert usual_entries(entry("a").encode() + b"x", True) is None
    assert usual_entries(b"x" + entry("a").encode(), True) is None


# Whatever the page is like

VALUES = {
    "Key": [
        "a",
        "a/b",
        "a%20b",
        "a+b",
        "100%",
        "%FF",
        "%0a",
        "a&amp;b",
        "",
        "k" * 1025,
        "ü",
        "]]>",
    ],
    "LastModified": [DATE, DATE.replace(".000", ""), "1969-12-31T23:59:59Z", "2026-02-30T00:00:00Z"]
    + ["2026-01-01T00:00:60Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00.0000000000Z", "now"],
    "ETag": ["&quot;e1&quot;", "&#34;e1&#34;", '"e1', "e1", "W/e1", "", "e1&#10;", "&quot;&quot;"],
    "Size": ["0", "3", "-1", "", "007", "9" * 18, "9" * 19, "\u0663", " 3"],
    "StorageClass": ["STANDARD", "", "GLACIER", "<b/>", "A B"],
    "RestoreStatus": [RESTORED, RESTORED + EXPIRY, "", RESTORED * 2, EXPIRY],
    "ChecksumAlgorithm": ["CRC32", "", "<x/>"],
    "Owner": ["<ID>1</ID><DisplayName>me</DisplayName>", "<ID>1</ID><ID>2</ID>", "me"],
    "Type": ["Normal"],
}
REQUIRED = ("Key", "LastModified", "ETag", "Size")


@st.composite
def fields(draw: st.DrawFn) -> list[tuple[str, str]]:
    """An entry's fields in any order: mostly as they should be, some odd, left out or twice."""
    names = [*REQUIRED, *draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=3))]
    if draw(st.integers(0, 9)) == 0:
        names.remove(draw(st.sampled_from(REQUIRED)))
    odd = draw(st.integers(0, 4)) == 0
    values = [draw(st.sampled_from(VALUES[name] if odd else VALUES[name][:2])) for name in names]
    return draw(st.permutations(list(zip(names, values, strict=True))))


@st.composite
def pages(draw: st.DrawFn) -> bytes:
    """Pages of entries in one form, or in several; their words about themselves may be wrong."""
    given = draw(st.lists(fields(), min_size=1, max_size=3))
    if draw(st.booleans()):
        given = [given[0]] * draw(st.integers(1, 3))
    entries = [contents(*(f"<{name}>{text}</{name}>" for name, text in each)) for each in given]
    words = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "EncodingType": st.sampled_from(["-", "", "base64"]),
                "IsTruncated": st.sampled_from(["true", "-", "no"]),
                "NextContinuationToken": st.sampled_from(["t", ""]),
                "KeyCount": st.sampled_from(["-", "1", " 2 "]),
                "Prefix": st.sampled_from(["a", "a/"]),
                "Name": st.sampled_from(["-", "other"]),
            },
        )
    )
    return page(*entries, **words)


@settings(max_examples=300, deadline=None)
@given(pages(), st.sampled_from(["", "a", "a/"]))
def test_any_page_is_read_alike(body: bytes, prefix: str) -> None:
    assert_same(body, prefix)


PIECES = ["", "<", ">", "&", '"', "<!--", "-->", "<![CDATA[", "]]>", "<?x", "?>", "<a>", "</a>"]
PIECES += [
    "<Contents>",
    "</Contents>",
    "<Contents/>",
    "<Key>",
    "</Key>",
    entry("z"),
    "\0",
    " ",
    "\n",
]
PIECES += [
    "<CommonPrefixes/>",
    "<!DOCTYPE a>",
    "<Name>other</Name>",
    "ü",
    "%",
    "</ListBucketResult>",
]
PIECES += ["<entries-that-were-cut-out-here/>"]
USUAL = page(entry("a"), entry("b%20c"), entry("d", StorageClass="-"), KeyCount="-")
EDIT = st.tuples(
    st.integers(0, len(USUAL)), st.integers(0, 60), st.sampled_from(PIECES).map(str.encode)
)


@settings(max_examples=1000, deadline=None)
@given(st.lists(EDIT, min_size=1, max_size=3))
def test_a_doctored_page_is_read_alike(edits: list[tuple[int, int, bytes]]) -> None:
    body = USUAL
    for start, length, piece in edits:
        body = body[:start] + piece + body[start + length :]
    assert_same(body)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(USUAL) - 1), st.integers(0, 255))
def test_a_page_with_a_wrong_byte_is_read_alike(position: int, byte: int) -> None:
    assert_same(USUAL[:position] + bytes([byte]) + USUAL[position + 1 :])
