"""The sample objects of the demo: about thirty, of every sort a bucket holds. Pure data."""

import gzip
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

PART_BYTES = 8 * 2**20
LARGE_BYTES = 20 * 2**20


@dataclass(frozen=True, slots=True)
class Sample:
    """One object. `parts` is true when it is uploaded in parts of `PART_BYTES`."""

    key: str
    body: bytes
    content_type: str = "application/octet-stream"
    parts: bool = False


def samples() -> Iterator[Sample]:
    """Every sample object, the same ones each time."""
    yield from _documents()
    yield from _tables()
    yield from _odd_names()
    yield Sample("images/gradient.png", _png(64, 64), "image/png")
    yield Sample("images/icons/dot.png", _png(8, 8), "image/png")
    yield Sample("logs/2026/11/events.log.gz", _gzip_lines(), "application/gzip")
    yield Sample("empty.dat", b"")
    yield Sample("one-byte.bin", b"\x00")
    yield Sample("folder-marker/", b"")
    yield Sample("large/twenty-megabytes.bin", _noise(LARGE_BYTES), parts=True)


def _documents() -> Iterator[Sample]:
    yield Sample("README.txt", b"This bucket is a demo. Change it and watch the mirror.\n")
    yield Sample("config/service.json", _json({"name": "orders", "replicas": 3}))
    yield Sample("config/flags.json", _json({"dark_mode": True, "beta": ["search", "export"]}))
    for number in range(1, 6):
        body = {"order": number, "items": [{"sku": f"A-{n}", "n": n} for n in range(number)]}
        yield Sample(f"orders/2026/11/{number:04}.json", _json(body), "application/json")


def _tables() -> Iterator[Sample]:
    for month in ("2026-09", "2026-10", "2026-11"):
        rows = "".join(f"{month}-{day:02},{day * 37 % 101}\n" for day in range(1, 29))
        yield Sample(f"reports/daily/{month}.csv", f"day,visits\n{rows}".encode(), "text/csv")
    yield Sample("reports/summary.csv", b"month,visits\n2026-11,1402\n", "text/csv")


def _odd_names() -> Iterator[Sample]:
    """Names that are ordinary for S3 and awkward elsewhere."""
    yield Sample("names/with space.txt", b"a space\n", "text/plain")
    yield Sample("names/one+one.txt", b"a plus\n", "text/plain")
    yield Sample("names/100%25 sure.txt", b"a percent sign that is no escape\n", "text/plain")
    yield Sample("names/Grüße aus Köln.txt", "ünïcödé\n".encode(), "text/plain")
    yield Sample("names/日本語/東京.txt", "東京\n".encode(), "text/plain")
    yield Sample("names/emoji-🚀.txt", "🚀\n".encode(), "text/plain")
    yield Sample("names/double//slash.txt", b"an empty folder name\n", "text/plain")
    yield Sample("deep/er/and/deep/er/still/end.txt", b"nested\n", "text/plain")
    yield Sample("a", b"a file beside a folder of its name\n", "text/plain")
    yield Sample("a/b", b"the file in that folder\n", "text/plain")


def _json(value: object) -> bytes:
    return json.dumps(value, indent=2).encode() + b"\n"


def _gzip_lines() -> bytes:
    lines = "".join(f'{{"event": {number}, "ok": true}}\n' for number in range(500))
    return gzip.compress(lines.encode(), mtime=0)


def _noise(size: int) -> bytes:
    """Bytes that are the same each time and do not compress to nothing."""
    block = b"".join(zlib.crc32(struct.pack(">I", n)).to_bytes(4, "big") for n in range(2**16))
    return (block * (size // len(block) + 1))[:size]


def _png(width: int, height: int) -> bytes:
    """A valid truecolour image, made by hand (RFC 2083)."""
    rows = b"".join(
        b"\0" + bytes(v for x in range(width) for v in (x * 255 // width, y * 255 // height, 128))
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + crc
