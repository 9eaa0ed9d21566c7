"""The bucket as the engine sees it: the port. The S3 adapter below it speaks HTTP.

A listing is complete or raises; a missing object is an error of its own; nothing here retries.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from datasync.errors import DataSyncError
from datasync.models.sync_models import ListingPage, ObjectHead, ObjectRequest


class Receiver(Protocol):
    """Takes one answer's head and body while they arrive.

    Both calls run on the thread that polls the channel. An exception raised here ends the
    transfer and becomes the answer's `error`.
    """

    def begin(self, head: ObjectHead) -> None:
        """The head of a 200 or 206; called once, before the first byte of the body."""

    def write(self, data: bytes) -> None:
        """The next bytes of the body, in order."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request ended: with a head (200, 206, 304) or with an error, never both.

    A 200/206 answer without error has delivered its whole body. `token` is the caller's own.
    """

    request: ObjectRequest
    token: object
    head: ObjectHead | None = None
    error: DataSyncError | None = None
    seconds: float = 0.0


class Channel(Protocol):
    """Many requests in flight on one thread. Only `wake` may be called from another thread."""

    @property
    def in_flight(self) -> int:
        """Requests started and not yet answered."""

    def start(self, request: ObjectRequest, receiver: Receiver | None, token: object) -> None:
        """Send a request; returns at once. Its answer comes out of `poll`, errors included."""

    def poll(self, timeout_seconds: float) -> list[Answer]:
        """Move bytes until an answer is complete, `wake` is called or the time is over."""

    def wake(self) -> None:
        """Make a waiting `poll` return soon. Safe from any thread and after `close`."""

    def cancel(self, token: object) -> None:
        """Drop every request started with this token; no answer comes for it."""

    def close(self) -> None:
        """Drop everything in flight and free the connections."""


class Bucket(Protocol):
    """An S3 bucket, read only. Safe to use from several threads; a channel belongs to one."""

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ListingPage]:
        """Yield every page of the listing below `prefix`, after the key `start_after`.

        The final page has `last=True`; an iterator that ends without it cannot happen.
        Order is as S3 gave it and is not promised.

        Raises: BucketError, at any page. Nothing was proved then.
        """

    def channel(self, max_in_flight: int) -> Channel:
        """A new channel for the calling thread; `max_in_flight` bounds its connections."""

    def parts(self, key: str, etag: str, count: int) -> tuple[int, ...]:
        """Sizes in bytes of the `count` parts that version `etag` of a multipart object has.

        Empty when the server cannot tell. Blocks; may take several requests.

        Raises: ObjectMissing, PreconditionFailed (another version by now), BucketError.
        """

    def head(self, key: str) -> ObjectHead:
        """The object's head with its stored checksums. Blocks.

        Raises: ObjectMissing, ObjectArchived, AccessDenied, BucketError.
        """

    def check(self, timeout_seconds: float) -> None:
        """Prove that the bucket can be listed with these credentials, within the time.

        Raises: BucketError saying what is wrong.
        """

    def close(self) -> None:
        """Free connections. Channels are closed by their owners."""
