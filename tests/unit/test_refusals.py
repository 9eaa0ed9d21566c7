"""What an error document says, also of a key that XML has no place for."""

import pytest

from datasync.errors import ObjectMissing, UnexpectedAnswer
from datasync.services.storage.s3.refusals import error_for, parse_refusal

DOCUMENT = "<Error><Code>{code}</Code><Key>{key}</Key></Error>"


def told(key: str, body: bytes) -> object:
    return error_for(parse_refusal(404, {}, body), "the object", key)


@pytest.mark.parametrize(
    "key, written",
    [
        ("a\x01.csv", "a&#x1;.csv"),
        ("a\x01.csv", "a&#1;.csv"),
        ("a\x1b.csv", "a\x1b.csv"),
        ("a\x08.csv", "a\ufffd.csv"),
        ("a\uffff.csv", "a&#xFFFF;.csv"),
        ("tab\tline\nfeed", "tab&#9;line&#xA;feed"),
        ("a&b<c", "a&amp;b&lt;c"),
    ],
)
def test_a_key_with_characters_that_xml_has_no_place_for_is_missing(key: str, written: str) -> None:
    body = DOCUMENT.format(code="NoSuchKey", key=written).encode()
    assert isinstance(told(key, body), ObjectMissing)


@pytest.mark.parametrize(
    "key, body",
    [
        ("a\x01", DOCUMENT.format(code="NoSuchKey", key="b&#x1;").encode()),  # of another key
        ("a\x01", DOCUMENT.format(code="NoSuch&#x1;Key", key="a&#x1;").encode()),
        ("a\x01", DOCUMENT.format(code="NoSuchKey", key="a&#x1;").encode()[:-8]),
        ("a", b"<!DOCTYPE e><Error><Code>NoSuchKey</Code><Key>a&#x1;</Key></Error>"),
        ("a", b"\x00\x01\x02"),
    ],
)
def test_what_is_no_such_document_makes_nothing_missing(key: str, body: bytes) -> None:
    assert isinstance(told(key, body), UnexpectedAnswer)
