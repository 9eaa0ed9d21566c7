"""Receivers for tests of channels, and the one way to wait for their answers."""

from collections.abc import Callable
from dataclasses import dataclass, field

from datasync.models.sync_models import ObjectHead, ObjectRequest
from datasync.services.storage.bucket import Bucket
from datasync.services.storage.channel import Answer, Channel

PATIENCE_SECONDS = 30.0


@dataclass
class Collector:
    """Keeps what arrives; `on_begin` and `on_write` may raise or do mischief."""

    heads: list[ObjectHead] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    on_begin: Callable[[ObjectHead], object] = lambda head: None
    on_write: Callable[[bytes], object] = lambda data: None

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def begin(self, head: ObjectHead) -> None:
        self.heads.append(head)
        self.on_begin(head)

    def write(self, data: bytes) -> None:
        self.chunks.append(data)
        self.on_write(data)


def drain(channel: Channel) -> list[Answer]:
    """Poll until nothing is in flight."""
    answers: list[Answer] = []
    while channel.in_flight:
        found = channel.poll(PATIENCE_SECONDS)
        assert found, "no answer in time"
        answers += found
    return answers


def fetch(bucket: Bucket, request: ObjectRequest) -> tuple[Answer, Collector]:
    """One request on a channel of its own."""
    channel, receiver = bucket.channel(1), Collector()
    try:
        channel.start(request, receiver, "token")
        (answer,) = drain(channel)
    finally:
        channel.close()
    return answer, receiver
