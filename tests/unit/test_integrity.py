"""What proves a body: the choice of the proof, and the digests themselves."""

import base64
import hashlib
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasync.errors import ChecksumMismatch
from datasync.models.sync_models import ListedObject, ObjectHead, Verdict
from datasync.services.engine.integrity import (
    LARGE_BYTES,
    Assembled,
    Expectation,
    can_be_assembled,
    digest_for,
    expect,
    expect_listed,
    prove,
)

BODY = bytes(range(256)) * 40
SIZE = len(BODY)
MD5 = hashlib.md5(BODY).hexdigest()


def head(etag: str = MD5, size: int = SIZE, **more: object) -> ObjectHead:
    return ObjectHead(200, etag, size, size, **more)  # type: ignore[arg-type]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def multipart_etag(body: bytes, parts: Sequence[int]) -> str:
    digests, start = b"", 0
    for size in parts:
        digests += hashlib.md5(body[start : start + size]).digest()
        start += size
    return f"{hashlib.md5(digests).hexdigest()}-{len(parts)}"


CRC32 = b64(zlib.crc32(BODY).to_bytes(4, "big"))
SHA256 = b64(hashlib.sha256(BODY).digest())
CRC64 = b64(b"\x01" * 8)


@pytest.mark.parametrize(
    ("given_head", "verdict"),
    [
        (head(), Verdict.MD5),
        (head(encryption="AES256"), Verdict.MD5),
        (head(encryption="aws:kms"), Verdict.SIZE),
        (head(encryption="aws:kms:dsse"), Verdict.SIZE),
        (head(encryption="SSE-C"), Verdict.SIZE),
        (head(encryption="aws:kms", checksums={"crc32": CRC32}), Verdict.CRC32),
        (head(encryption="SSE-C", checksums={"sha256": SHA256, "crc32": CRC32}), Verdict.SHA256),
        (head(checksums={"crc32": CRC32}), Verdict.MD5),
        (head(checksums={"crc64nvme": CRC64}), Verdict.MD5),
        (head(size=LARGE_BYTES, checksums={"crc64nvme": CRC64}), Verdict.CRC64NVME),
        (head(size=LARGE_BYTES, checksums={"crc32": CRC32}), Verdict.MD5),
        (head(etag=f"{MD5}-3"), Verdict.MULTIPART_MD5),
        (head(etag=f"{MD5}-3", encryption="aws:kms"), Verdict.SIZE),
        (head(etag=f"{MD5}-3", checksums={"crc64nvme": CRC64}), Verdict.CRC64NVME),
        (head(etag=f"{MD5}-3", checksums={"sha256": f"{SHA256}-3"}), Verdict.MULTIPART_MD5),
        (
            head(etag=f"{MD5}-3", encryption="SSE-C", checksums={"sha256": f"{SHA256}-3"}),
            Verdict.SHA256,
        ),
        (head(etag="not-a-digest"), Verdict.SIZE),
        (head(etag="not-a-digest", checksums={"crc32": "broken="}), Verdict.SIZE),
        (head(etag="not-a-digest", checksums={"crc32": SHA256}), Verdict.SIZE),
    ],
)
def test_the_strongest_affordable_proof_is_chosen(given_head: ObjectHead, verdict: Verdict) -> None:
    assert expect(given_head).verdict is verdict


def test_verification_off_expects_the_length_only() -> None:
    assert expect(head(), verify=False).verdict is Verdict.SIZE


def test_a_composite_checksum_needs_its_parts() -> None:
    expectation = expect(
        head(etag="opaque", checksums={"sha256": f"{SHA256}-4"}, checksum_type="COMPOSITE")
    )
    assert (expectation.count, expectation.needs_parts) == (4, True)


@pytest.mark.parametrize("name", ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"])
def test_every_stored_checksum_finds_one_flipped_bit(name: str) -> None:
    known = {"crc32": zlib.crc32(BODY).to_bytes(4, "big")}
    computed = digest_for(expect(head("opaque", checksums={name: _stored(name)})))
    computed.update(BODY)
    assert computed.value() == known.get(name, base64.b64decode(_stored(name)))
    expectation = expect(head("opaque", checksums={name: _stored(name)}))
    flipped = digest_for(expectation)
    flipped.update(bytes([BODY[0] ^ 1]) + BODY[1:])
    with pytest.raises(ChecksumMismatch, match="'k'"):
        prove(expectation, flipped, "k")


def _stored(name: str) -> str:
    from awscrt import checksums

    if name.startswith("sha"):
        return b64(hashlib.new(name, BODY).digest())
    width = 8 if name == "crc64nvme" else 4
    return b64(getattr(checksums, name)(BODY).to_bytes(width, "big"))


def test_the_check_values_of_the_crc_catalogue() -> None:
    from datasync.services.engine.integrity import Expectation

    known = {
        Verdict.CRC32: "cbf43926",
        Verdict.CRC32C: "e3069283",
        Verdict.CRC64NVME: "ae8b14860a799888",
    }
    for verdict, text in known.items():
        computed = digest_for(Expectation(verdict))
        computed.update(b"1234")
        computed.update(memoryview(b"56789"))
        assert computed.value().hex() == text


@given(
    parts=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    cuts=st.lists(st.integers(1, 70), min_size=1, max_size=20),
)
def test_a_multipart_digest_does_not_care_how_the_body_is_cut(
    parts: list[int], cuts: list[int]
) -> None:
    body = bytes(i % 251 for i in range(sum(parts)))
    etag = multipart_etag(body, parts)
    expectation = expect(head(etag, len(body)))
    if expectation.needs_parts:
        expectation = expectation.with_parts(parts)
    digest, start, turn = digest_for(expectation), 0, 0
    while start < len(body):
        step = cuts[turn % len(cuts)]
        digest.update(body[start : start + step])
        start, turn = start + step, turn + 1
    assert prove(expectation, digest, "k") is Verdict.MULTIPART_MD5


@pytest.mark.parametrize("wrong", [BODY[:-1], BODY + b"x", b""])
def test_a_multipart_digest_of_another_length_never_matches(wrong: bytes) -> None:
    parts = (4000, 4000, 2240)
    expectation = expect(head(multipart_etag(BODY, parts))).with_parts(parts)
    digest = digest_for(expectation)
    digest.update(wrong)
    with pytest.raises(ChecksumMismatch):
        prove(expectation, digest, "k")


@pytest.mark.parametrize(
    ("etag", "verdict"),
    [
        (MD5, Verdict.MD5),
        (multipart_etag(BODY, [len(BODY)]), Verdict.MULTIPART_MD5),
        (f"{MD5}-2", None),
        ("opaque", None),
        (MD5.upper(), None),
    ],
)
def test_what_a_listing_alone_can_prove(etag: str, verdict: Verdict | None) -> None:
    found = expect_listed(ListedObject("k", len(BODY), etag, 0))
    assert (found.verdict if found else None) is verdict


@pytest.mark.parametrize("verdict", [Verdict.CRC64NVME, Verdict.CRC32C, Verdict.CRC32])
@given(data=st.data(), body=st.binary(max_size=400))
def test_a_crc_follows_from_those_of_pieces_in_any_order(
    verdict: Verdict, data: st.DataObject, body: bytes
) -> None:
    whole = digest_for(Expectation(verdict))
    whole.update(body)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(body) - 1), max_size=5))) if body[1:] else []
    starts = list(zip([0, *cuts], [*cuts, len(body)], strict=True))
    assembled = Assembled(verdict, len(body))
    for start, end in data.draw(st.permutations(starts)):
        if body:
            assert assembled.value() == b""  # as long as something is missing
            assembled.begin(start, end - start).update(body[start:end])
    assert assembled.value() == whole.value()
    other = Assembled(verdict, len(body) + 1)
    other.begin(0, len(body)).update(body)
    assert other.value() == b""


def test_only_crcs_of_whole_bodies_are_assembled() -> None:
    assert can_be_assembled(Expectation(Verdict.CRC64NVME))
    assert not can_be_assembled(Expectation(Verdict.MD5))
    assert not can_be_assembled(Expectation(Verdict.CRC32, count=3, parts=(1, 1, 1)))
