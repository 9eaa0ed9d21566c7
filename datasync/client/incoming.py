"""A file on its way from the service: staged beside its target, proved, then given its name.

Knows the disk and the heads of answers, not how they are asked for: both clients use it.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tenacity import RetryCallState

from datasync.client.errors import DownloadBroken, UnexpectedAnswer
from datasync.models.s3_models import FileEntry

_MD5 = re.compile(r"[0-9a-f]{32}")
_BROKEN_HINT = "Nothing was put in place. Try again; look for a proxy or cache on the way."


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A file that is in place. `verified` is how: by its MD5, or only by its size."""

    path: Path
    size: int
    etag: str
    verified: Literal["md5", "size"]


@dataclass(frozen=True, slots=True)
class FileHead:
    """What the head of an answer says of the file behind it.

    `size` is the whole file's, None when it is not told; `first` is where the body begins.
    `etag` is without quotes, "" when there is none.
    """

    size: int | None
    etag: str
    content_type: str
    first: int = 0


def head_of(status: int, headers: Mapping[str, str]) -> FileHead:
    """Raises: UnexpectedAnswer for a body that is not the file's own bytes."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnexpectedAnswer(
            "the file was compressed on its way", status=status, hint="Look for a proxy on the way."
        )
    tag = headers.get("etag", "")
    first, size = 0, headers.get("content-length", "")
    if status == 206:
        match = re.fullmatch(
            r"bytes (\d{1,19})-\d{1,19}/(\d{1,19})", headers.get("content-range", "")
        )
        if match is None:
            raise UnexpectedAnswer("the answer does not tell which range it has", status=status)
        first, size = int(match[1]), match[2]
    return FileHead(
        size=int(size) if size.isdecimal() else None,
        etag=tag[1:-1] if re.fullmatch(r'"[^"]*"', tag) else "",
        content_type=headers.get("content-type", ""),
        first=first,
    )


class Incoming:
    """One file, from its first byte to its name. Leaves nothing behind unless it is `placed`."""

    def __init__(self, target: str | os.PathLike[str], retries: int) -> None:
        self._target = Path(target)
        self._retries = retries
        self._staged = self._target.parent / f".datasync-{secrets.token_hex(8)}.part"
        self._head: FileHead | None = None
        self._begin_anew()
        self._fruitless = 0
        self._size_before = 0

    def __enter__(self) -> Self:
        """Raises: OSError when nothing can be written beside the target, or that is a folder."""
        if self._target.is_dir():
            raise IsADirectoryError(f"{self._target} is a folder; name the file")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        self._file = os.fdopen(os.open(self._staged, flags, 0o666), "wb")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._file.close()  # on a full disk it fails, as the write did
        finally:
            self._staged.unlink(missing_ok=True)

    def _begin_anew(self) -> None:
        self._size = 0
        # A checksum that S3 chose, no protection.
        self._hash = hashlib.md5(usedforsecurity=False)

    def headers(self) -> dict[str, str]:
        """What to ask with: for the whole, or for the rest of the very version that broke off."""
        asked = {"Accept-Encoding": "identity"}
        if self._size and self._head is not None and self._head.etag:
            asked |= {"Range": f"bytes={self._size}-", "If-Range": f'"{self._head.etag}"'}
        return asked

    def begin(self, head: FileHead) -> None:
        """Take the head of an answer: it goes on where the last one broke off, or begins anew.

        Raises: UnexpectedAnswer, OSError.
        """
        if head.first == 0:
            self._file.seek(0)
            self._file.truncate()
            self._begin_anew()
        elif head.first != self._size or self._head is None or head.etag != self._head.etag:
            raise UnexpectedAnswer("the answer has another range than was asked for")
        self._head = head

    def write(self, chunk: bytes) -> None:
        """Take the next bytes. Raises: DownloadBroken when they are too many, OSError."""
        self._size += len(chunk)
        size = self._head.size if self._head is not None else None
        if size is not None and self._size > size:
            raise self._broken("more bytes came than the file has")
        self._hash.update(chunk)
        self._file.write(chunk)

    def gives_up(self, _state: RetryCallState) -> bool:
        """Whether too many tries in a row brought nothing new."""
        self._fruitless = 0 if self._size > self._size_before else self._fruitless + 1
        self._size_before = max(self._size, self._size_before)
        return self._retries == 0 or self._fruitless > self._retries

    @property
    def in_doubt(self) -> bool:
        """Whether the ETag looks like an MD5 and is not that of these bytes.

        Either they are wrong, or the object is encrypted with a key of KMS or of its own: then the
        ETag is no MD5. The ledger knows.
        """
        etag = self._head.etag if self._head is not None else ""
        return _MD5.fullmatch(etag) is not None and etag != self._hash.hexdigest()

    def judge(self, entry: FileEntry | None) -> None:
        """Settle the doubt by what the ledger says of the key. Raises: DownloadBroken."""
        etag = self._head.etag if self._head is not None else ""
        if entry is None or entry.etag != etag or entry.verdict in (None, "md5"):
            raise self._broken("the bytes that came are not those of the ETag")

    def place(self) -> Downloaded:
        """Give the file its name, in one step. Raises: DownloadBroken, OSError."""
        head = self._head
        if head is None or head.size not in (None, self._size):
            raise self._broken("fewer bytes came than the file has")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._staged, self._target)
        proved = head.etag == self._hash.hexdigest()
        return Downloaded(self._target, self._size, head.etag, "md5" if proved else "size")

    def _broken(self, detail: str) -> DownloadBroken:
        return DownloadBroken(detail, hint=_BROKEN_HINT)
