"""The light S3 of the benchmarks: what it serves, and the program that serves it.

The program is C, compiled with the machine's compiler (`CC`, or `cc`) into a temporary folder.
Every object's bytes are cut from one random pool, so that a million of them cost no memory and
anybody can tell what each should hold.
"""

import atexit
import base64
import hashlib
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache, lru_cache
from pathlib import Path

from awscrt import checksums

from tests.support.s3_server import S3Server
from tests.support.servers import free_ports

SOURCES = Path(__file__).parent / "light_s3"
POOL_BYTES = 64 * 2**20
PIECE_BYTES = 2**20
BUCKET = "bench"
BORN = datetime(2026, 1, 1, tzinfo=UTC)


class Pool:
    """Random bytes that go round; the same in every run."""

    def __init__(self) -> None:
        self.data = random.Random(20260101).randbytes(POOL_BYTES)

    def cut(self, offset: int, size: int) -> Iterator[memoryview]:
        """The bytes of an object, in pieces of at most 1 MiB."""
        view = memoryview(self.data)
        while size:
            start = offset % POOL_BYTES
            piece = view[start : start + min(size, PIECE_BYTES)]
            yield piece
            offset, size = offset + len(piece), size - len(piece)


@dataclass(frozen=True)
class Item:
    """An object: byte i is pool[(offset + i) % POOL_BYTES]. `part_size` 0: put in one piece."""

    key: str
    size: int
    offset: int
    age: int = 0  # seconds since BORN at which it was put
    part_size: int = 0
    has_crc: bool = False

    def etag(self, pool: Pool) -> str:
        """As S3 makes it: MD5, or the MD5 of the parts' MD5s with their number."""
        if not self.part_size:
            return _md5(pool, self.offset, self.size).hexdigest()
        starts = range(0, self.size, self.part_size)
        parts = [
            _part_md5(
                pool,
                (self.offset + start) % POOL_BYTES,
                min(self.part_size, self.size - start),
            )
            for start in starts
        ]
        return f"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}"

    def crc(self, pool: Pool) -> str:
        """CRC64NVME in Base64; "-" when the object has none."""
        if not self.has_crc:
            return "-"
        value = 0
        for piece in pool.cut(self.offset, self.size):
            value = checksums.crc64nvme(bytes(piece), value)
        return base64.b64encode(value.to_bytes(8, "big")).decode()

    def line(self, pool: Pool) -> str:
        """This object in the manifest: see light_s3.h."""
        put = BORN + timedelta(seconds=self.age)
        dates = format_datetime(put, usegmt=True), put.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        etag, crc = self.etag(pool), self.crc(pool)
        return f"{self.key}\t{self.size}\t{self.offset}\t{etag}\t{dates[0]}\t{dates[1]}\t" + (
            f"{self.part_size}\t{crc}\n"
        )


def _md5(pool: Pool, offset: int, size: int) -> "hashlib._Hash":
    digest = hashlib.md5(usedforsecurity=False)
    for piece in pool.cut(offset, size):
        digest.update(piece)
    return digest


@lru_cache(maxsize=16)
def _part_md5(pool: Pool, start: int, size: int) -> bytes:
    """Parts of a large object come round again with the pool."""
    return _md5(pool, start, size).digest()


@cache
def program() -> Path:
    """The compiled server, made once. Raises: SystemExit without a compiler."""
    folder = tempfile.mkdtemp(prefix="datasync-light-s3-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = Path(folder, "light_s3")
    sources = [str(path) for path in sorted(SOURCES.glob("*.c"))]
    compiler = os.environ.get("CC", "cc")
    try:
        subprocess.run([compiler, "-std=gnu11", "-O2", "-o", str(made), *sources], check=True)
    except FileNotFoundError:
        raise SystemExit(
            f"benchmarks: no C compiler ({compiler}). Install gcc or clang, or name one in CC."
        ) from None
    return made


class LightServer:
    """Makes servers on one port; the pool is written once.

    Each answer is `delay_ms` late, as that of a server far away.
    """

    dated = True

    def __init__(self, folder: Path, pool: Pool, delay_ms: float = 0.0) -> None:
        self.pool = pool
        self._folder = folder
        self._delay_ms = delay_ms
        self._port = free_ports(1)[0]
        (folder / "pool").write_bytes(self.pool.data)

    def close(self) -> None:
        """Nothing runs between the rounds."""

    @contextmanager
    def serving(self, items: Sequence[Item]) -> Iterator[S3Server]:
        """A server of these objects until the block ends."""
        manifest = self._folder / "manifest"
        with open(manifest, "w") as file:
            for item in sorted(items, key=lambda item: item.key.encode()):
                file.write(item.line(self.pool))
        told = [manifest, self._folder / "pool", BUCKET, self._delay_ms, self._port]
        command = [str(program()), *map(str, told)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin and process.stdout
            url = f"http://127.0.0.1:{int(process.stdout.readline())}"
            try:
                yield S3Server(url, "bench", "bench", "us-east-1", process.pid)
            finally:
                process.stdin.close()
