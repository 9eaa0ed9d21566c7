"""A queue of SQS as its consumer sees it: the port, and the adapter that speaks to SQS.

Messages are bodies with a receipt, nothing more: what is in them is not known here, nor who
takes them, when, or how often a failed call is tried again. Makes no connection before the
first call.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from datasync.errors import Interrupted, QueueCredentialsRejected

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef, ResponseMetadataTypeDef

MAX_BATCH = 10  # of SQS, for every kind of call
CONNECT_SECONDS = 5.0
CLOSE_SECONDS = 1.0
ANSWER_SECONDS = 10.0  # beyond what a long poll is meant to take
CONNECTIONS = 16
_REGION = r"[a-z]{2}(?:-[a-z]+)+-\d+"
_REGIONAL_HOST = re.compile(rf"(?:.+\.)?sqs(?:-fips)?\.({_REGION})\..+")
_OLD_HOST = re.compile(rf"({_REGION})\.queue\.amazonaws\.com(?:\.cn)?")
_RESOLVED_HOST = re.compile(rf"sqs\.{_REGION}\.amazonaws\.com(?:\.cn)?")


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it was received. `receipt` names this receipt of it, `id` the message."""

    id: str
    receipt: str
    body: str


class Queue(Protocol):
    """A queue that hands out each message until it is deleted. Safe to use from many threads."""

    def receive(self, count: int, wait_seconds: int, hidden_seconds: int) -> list[Message]:
        """Up to `count` (at most 10) messages, hidden from all others for `hidden_seconds`.

        Waits up to `wait_seconds` (at most 20) for the first one; empty when none came.

        Raises: QueueError.
        """

    def delete(self, messages: Sequence[Message]) -> list[Message]:
        """Remove them for good; gives those that the queue did not remove, which come again.

        Raises: QueueError; what was deleted then is not known.
        """

    def extend(self, messages: Sequence[Message], seconds: int) -> list[Message]:
        """Hide them for so many seconds from now; 0 makes them visible at once.

        Gives those that the queue refused: usually they are visible again by now.

        Raises: QueueError; what was extended then is not known.
        """

    def close(self) -> None:
        """Free connections; later calls raise Interrupted. A poll under way goes on to its end."""


# The adapter of SQS


@dataclass(frozen=True, slots=True)
class SqsConfig:
    """Where the queue is and who asks. Without keys: botocore's chain, in `profile` if given.

    `region` counts only when the URL does not name one; `endpoint_url` only for servers that
    are not where the queue's URL says; `ca_bundle` is a file of certificates to trust.
    """

    queue_url: str
    region: str
    endpoint_url: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    profile: str | None = None
    ca_bundle: str | None = None


def region_of(queue_url: str) -> str | None:
    """The region that the URL of a queue names; None when it names none.

    Knows `sqs.<region>...`, as AWS and its VPC endpoints have it, and the old
    `<region>.queue.amazonaws.com`.
    """
    host = urlsplit(queue_url).hostname or ""
    if host == "queue.amazonaws.com":
        return "us-east-1"
    found = _REGIONAL_HOST.fullmatch(host) or _OLD_HOST.fullmatch(host)
    return found[1] if found else None


def endpoint_of(queue_url: str) -> str | None:
    """The server of a queue by its URL; None where botocore finds it by the region."""
    parts = urlsplit(queue_url)
    host = parts.hostname or ""
    if host == "queue.amazonaws.com" or _RESOLVED_HOST.fullmatch(host) or _OLD_HOST.fullmatch(host):
        return None
    return f"{parts.scheme}://{parts.netloc}"


class SqsQueue:
    """A queue of SQS, by boto3. See the `Queue` port."""

    def __init__(self, config: SqsConfig) -> None:
        self._config = config
        self._name = urlsplit(config.queue_url).path.rpartition("/")[2]
        self._lock = threading.Lock()
        self._session: Any = None
        self._clients: dict[float, SQSClient] = {}
        self._closed = False

    def receive(self, count: int, wait_seconds: int, hidden_seconds: int) -> list[Message]:
        with self._asking("sqs:ReceiveMessage", wait_seconds + ANSWER_SECONDS) as client:
            answer = client.receive_message(
                QueueUrl=self._config.queue_url,
                MaxNumberOfMessages=count,
                WaitTimeSeconds=wait_seconds,
                VisibilityTimeout=hidden_seconds,
            )
            _prove(answer["ResponseMetadata"])
        return [_message(each) for each in answer.get("Messages", [])]

    def delete(self, messages: Sequence[Message]) -> list[Message]:
        refused = []
        for batch in _batches(messages):
            with self._asking("sqs:DeleteMessage") as client:
                answer = client.delete_message_batch(
                    QueueUrl=self._config.queue_url,
                    Entries=[
                        {"Id": str(number), "ReceiptHandle": each.receipt}
                        for number, each in enumerate(batch)
                    ],
                )
                _prove(answer["ResponseMetadata"])
            refused += [batch[int(each["Id"])] for each in answer.get("Failed", [])]
        return refused

    def extend(self, messages: Sequence[Message], seconds: int) -> list[Message]:
        refused = []
        for batch in _batches(messages):
            with self._asking("sqs:ChangeMessageVisibility") as client:
                answer = client.change_message_visibility_batch(
                    QueueUrl=self._config.queue_url,
                    Entries=[
                        {
                            "Id": str(number),
                            "ReceiptHandle": each.receipt,
                            "VisibilityTimeout": seconds,
                        }
                        for number, each in enumerate(batch)
                    ],
                )
                _prove(answer["ResponseMetadata"])
            refused += [batch[int(each["Id"])] for each in answer.get("Failed", [])]
        return refused

    def close(self) -> None:
        self._closed = True
        # Held while the chain of credentials is asked, which may hang: no stop waits for that.
        if self._lock.acquire(timeout=CLOSE_SECONDS):
            clients, self._clients, self._session = self._clients, {}, None
            self._lock.release()
            for client in clients.values():
                client.close()

    @contextmanager
    def _asking(
        self, permission: str, answer_seconds: float = ANSWER_SECONDS
    ) -> Iterator["SQSClient"]:
        """A client to make one call with; what boto3 raises becomes a QueueError."""
        from datasync.services.events import sqs_refusals  # with botocore: not before it is needed

        try:
            yield self._client(answer_seconds)
        except sqs_refusals.RAISED as error:
            problem = sqs_refusals.error_for(error, f"queue {self._name!r}", permission)
            if isinstance(problem, QueueCredentialsRejected):
                self._begin_anew()
            raise problem from error

    def _begin_anew(self) -> None:
        """Ask the chain of credentials again: botocore reads the files of a profile only once."""
        with self._lock:
            self._clients, self._session = {}, None

    def _client(self, answer_seconds: float) -> "SQSClient":
        with self._lock:  # making clients is the one thing that boto3 cannot do in two threads
            if self._closed:
                raise Interrupted(f"queue {self._name!r} is closed")
            client = self._clients.get(answer_seconds)
            if client is None:
                client = self._connect(answer_seconds)
                self._clients[answer_seconds] = client
            if self._closed:  # meanwhile
                raise Interrupted(f"queue {self._name!r} is closed")
            return client

    def _connect(self, answer_seconds: float) -> "SQSClient":
        import boto3.session
        from botocore.config import Config

        config = self._config
        if self._session is None:
            self._session = boto3.session.Session(
                aws_access_key_id=config.access_key,
                aws_secret_access_key=config.secret_key,
                aws_session_token=config.token,
                profile_name=config.profile,
            )
        client: SQSClient = self._session.client(
            "sqs",
            region_name=region_of(config.queue_url) or config.region,
            endpoint_url=config.endpoint_url or endpoint_of(config.queue_url),
            verify=config.ca_bundle,
            config=Config(
                connect_timeout=min(CONNECT_SECONDS, answer_seconds),
                read_timeout=answer_seconds,
                # The second try is for a kept connection that the server has closed meanwhile.
                retries={"total_max_attempts": 2, "mode": "standard"},
                max_pool_connections=CONNECTIONS,
            ),
        )
        return client


def _batches(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    for start in range(0, len(messages), MAX_BATCH):
        yield messages[start : start + MAX_BATCH]


def _prove(told: "ResponseMetadataTypeDef") -> None:
    """Botocore takes any page with status 200, a proxy's say, for an answer without content."""
    if "json" not in told["HTTPHeaders"].get("content-type", ""):
        raise ValueError("the answer is not JSON")


def _message(given: "MessageTypeDef") -> Message:
    return Message(given.get("MessageId", ""), given["ReceiptHandle"], given.get("Body", ""))
