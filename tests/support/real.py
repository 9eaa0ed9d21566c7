"""The real service on a real S3 server, in this process, with its requests counted."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datasync.composition import Components, compose, s3_bucket
from datasync.config.loading import load_settings
from datasync.config.settings import Settings
from datasync.models.sync_models import ListingPage, ObjectHead, ObjectRequest, Run, RunKind
from datasync.services.storage.bucket import Bucket, BucketElsewhere
from datasync.services.storage.channel import Channel, Receiver
from tests.support.s3_server import S3Server


class CountingChannel:
    """A channel that counts what is asked for."""

    def __init__(self, channel: Channel, counts: Counter[str]) -> None:
        self._channel = channel
        self._counts = counts
        self.poll = channel.poll
        self.wake = channel.wake
        self.cancel = channel.cancel
        self.close = channel.close

    @property
    def in_flight(self) -> int:
        return self._channel.in_flight

    def start(self, request: ObjectRequest, receiver: Receiver | None, token: object) -> None:
        self._counts[request.method.lower()] += 1
        self._channel.start(request, receiver, token)


class CountingBucket:
    """The real bucket; `counts` says how many GET, HEAD and listing pages were asked for."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.counts: Counter[str] = Counter()
        self.check = bucket.check
        self.close = bucket.close

    def list(self, prefix: str = "", start_after: str = "") -> Iterator[ListingPage]:
        for page in self._bucket.list(prefix, start_after):
            self.counts["list"] += 1
            yield page

    def channel(self, max_in_flight: int) -> Channel:
        return CountingChannel(self._bucket.channel(max_in_flight), self.counts)

    def elsewhere(self) -> BucketElsewhere | None:
        return None  # what another process asks for would not be counted

    def parts(self, key: str, etag: str, count: int) -> tuple[int, ...]:
        self.counts["parts"] += 1
        return self._bucket.parts(key, etag, count)

    def head(self, key: str) -> ObjectHead:
        self.counts["head"] += 1
        return self._bucket.head(key)


class RealWorld:
    """The composed service and the server it mirrors."""

    def __init__(self, server: S3Server, name: str, parts: Components, bucket: CountingBucket):
        self.server = server
        self.name = name
        self.parts = parts
        self.counts = bucket.counts
        self.root = parts.mirror.root

    def sync(self, kind: RunKind = RunKind.RECONCILE) -> Run:
        return self.parts.service.run(kind, "")

    def content(self) -> dict[str, bytes]:
        """What the mirror holds, by key, read from the paths that the ledger names."""
        rows = list(self._rows())
        return {row_key: (self.root / path).read_bytes() for row_key, path in rows}

    def _rows(self) -> Iterator[tuple[str, str]]:
        after = ""
        while rows := self.parts.ledger.rows(after=after):
            after = rows[-1].key
            yield from ((row.key, row.path) for row in rows if row.path is not None)


def settings_for(server: S3Server, name: str, folder: Path, **changes: object) -> Settings:
    """Settings that point at a bucket of a test server."""
    values: dict[str, object] = {
        "s3_bucket_name": name,
        "aws_access_key_id": server.access_key,
        "aws_secret_access_key": server.secret_key,
        "aws_region": server.region,
        "aws_endpoint_url_s3": server.endpoint_url,
        "local_download_dir": str(folder / "mirror"),
        "log_file": "",
        "enable_periodic_sync": False,
    }
    return load_settings(**{**values, **changes})


@contextmanager
def real_world(server: S3Server, name: str, folder: Path, **changes: object) -> Iterator[RealWorld]:
    """Compose the service for a bucket; closed at the end."""
    made: list[CountingBucket] = []

    def counting(settings: Settings) -> Bucket:
        made.append(CountingBucket(s3_bucket(settings)))
        return made[0]

    parts = compose(settings_for(server, name, folder, **changes), make_bucket=counting)
    try:
        yield RealWorld(server, name, parts, made[0])
    finally:
        parts.service.stop()
        parts.close()
