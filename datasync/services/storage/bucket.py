"""The bucket as the engine sees it: the port. The S3 adapter below it speaks HTTP.

A listing is complete or raises; a missing object is an error of its own; nothing here retries.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from datasync.models.sync_models import ListingPage, ObjectHead, ObjectRequest
from datasync.services.storage.channel import Channel, S3Channel
from datasync.services.storage.s3.client import S3Client
from datasync.services.storage.s3.endpoint import S3Config
from datasync.services.storage.s3.listing import Listing, check_listing
from datasync.services.storage.s3.parts import part_sizes


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

    def elsewhere(self) -> "BucketElsewhere | None":
        """What another process needs to read this bucket as we do now; None: none can.

        Raises: CredentialsRejected, CredentialsOutdated (there are none at the moment).
        """

    def close(self) -> None:
        """Free connections; questions under way and later ones raise Interrupted.

        Channels are closed by their owners.
        """


# The S3 adapter


@dataclass(frozen=True, slots=True)
class BucketElsewhere:
    """A bucket with the credentials of the moment, and the server's clock against ours.

    It can be pickled, and is equal to one made later unless the credentials have changed since.
    """

    config: S3Config
    offset_seconds: float

    def open(self) -> Bucket:
        return S3Bucket(self.config, self.offset_seconds)


class S3Bucket:
    """An S3 bucket over HTTP. See the `Bucket` port; makes no request before it is asked to."""

    def __init__(self, config: S3Config, offset_seconds: float = 0.0) -> None:
        self._client = S3Client(config, offset_seconds=offset_seconds)
        self._listing = Listing(self._client)

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ListingPage]:
        return self._listing.pages(prefix, start_after)

    def channel(self, max_in_flight: int) -> Channel:
        return S3Channel(self._client, max_in_flight)

    def parts(self, key: str, etag: str, count: int) -> tuple[int, ...]:
        return part_sizes(self._client, key, etag, count)

    def head(self, key: str) -> ObjectHead:
        return self._client.head(ObjectRequest(key=key, method="HEAD"))

    def check(self, timeout_seconds: float) -> None:
        check_listing(self._client, timeout_seconds)

    def elsewhere(self) -> BucketElsewhere | None:
        return BucketElsewhere(self._client.frozen(), self._client.offset_seconds)

    def close(self) -> None:
        self._client.close()
