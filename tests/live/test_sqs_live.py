"""SQS on MiniStack: the adapter, and the way of an event from the bucket into the journal."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from datasync.errors import DataSyncError, LedgerBusy, MalformedRequest, PoisonMessage
from datasync.services.events.sqs import Message, SqsConfig, SqsQueue
from datasync.services.events.sqs_consumer import QueueConsumer
from tests.support.s3_server import S3Server
from tests.support.world import eventually
from tests.unit.test_queue_contract import QueueContract

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

SECONDS = 20.0
_numbers = count(1)


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


class LiveQueue:
    """A fresh queue on the server, filled with boto3."""

    def __init__(self, server: S3Server, suffix: str = "", **attributes: str) -> None:
        self.server = server
        self.client: SQSClient = client(server, "sqs")
        name = f"test-queue-{next(_numbers)}{suffix}"
        self.url = self.client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        self.arn = f"arn:aws:sqs:{server.region}:000000000000:{name}"
        self.queue = self.another()

    def another(self) -> SqsQueue:
        return SqsQueue(
            SqsConfig(
                self.url,
                self.server.region,
                access_key=self.server.access_key,
                secret_key=self.server.secret_key,
            )
        )

    def send(self, body: str) -> None:
        self.client.send_message(QueueUrl=self.url, MessageBody=body)

    def send_many(self, bodies: Sequence[str]) -> None:
        for start in range(0, len(bodies), 10):
            self.client.send_message_batch(
                QueueUrl=self.url,
                Entries=[
                    {"Id": str(number), "MessageBody": body}
                    for number, body in enumerate(bodies[start : start + 10])
                ],
            )

    def remove(self) -> None:
        self.client.delete_queue(QueueUrl=self.url)

    def left(self) -> int:
        return self.counted("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")

    def counted(self, *names: Any) -> int:
        told = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        return sum(map(int, told["Attributes"].values()))


def client(server: S3Server, service: str) -> Any:
    return boto3.client(
        service,  # type: ignore[call-overload]  # the name of the service is not a literal here
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=server.region,
        config=Config(proxies={}, s3={"addressing_style": "path"}),
    )


class TestSqsQueue(QueueContract):
    """The adapter on MiniStack."""

    @pytest.fixture
    def arranged(self, ministack: S3Server) -> Iterator[LiveQueue]:
        made = LiveQueue(ministack)
        yield made
        made.queue.close()


class Inbox:
    """A `take` that keeps what it got, and fails as long as it is told to."""

    def __init__(self) -> None:
        self.problem: DataSyncError | None = None
        self.bodies: list[bytes] = []
        self.tries = 0

    def take(self, bodies: Sequence[bytes]) -> list[DataSyncError | None]:
        self.tries += 1
        if self.problem is not None:
            raise self.problem
        self.bodies += bodies
        return [MalformedRequest("no JSON") if body == b"poison" else None for body in bodies]

    def text(self) -> str:
        return b"\n".join(self.bodies).decode()


@dataclass
class Running:
    """Consumers that are stopped at the end; their polls are short, so that nothing is left."""

    inbox: Inbox
    told: list[Exception]
    consumers: list[QueueConsumer]
    queues: list[LiveQueue]

    def consume(
        self, live: LiveQueue, *, poll_seconds: int = 1, hidden_seconds: int = 30
    ) -> QueueConsumer:
        made = QueueConsumer(
            live.queue,
            self.inbox.take,
            self.told.append,
            poll_seconds=poll_seconds,
            hidden_seconds=hidden_seconds,
        )
        self.consumers.append(made)
        self.queues.append(live)
        made.start()
        return made


@pytest.fixture
def running() -> Iterator[Running]:
    made = Running(Inbox(), [], [], [])
    yield made
    for consumer in made.consumers:
        consumer.stop(SECONDS)
    eventually(lambda: all(each.receivers == 0 for each in made.consumers), 30)
    for live in made.queues:
        live.queue.close()


def until_seen(running: Running, live: LiveQueue, change: Callable[[], object], text: str) -> float:
    """Change something, wait for the text to be journaled and deleted; seconds after the change."""
    change()
    began = time.monotonic()
    eventually(lambda: text in running.inbox.text(), SECONDS)
    seconds = time.monotonic() - began
    eventually(lambda: live.left() == 0, SECONDS)
    return seconds


class TestFromTheBucket:
    """Whatever wraps the event, it arrives as it was sent, and the queue is empty afterwards."""

    @pytest.fixture
    def bucket(self, ministack_bucket: str) -> str:
        return ministack_bucket

    def test_s3_to_sqs(self, ministack: S3Server, bucket: str, running: Running) -> None:
        live = LiveQueue(ministack)
        s3 = ministack.client()
        s3.put_bucket_notification_configuration(
            Bucket=bucket,
            NotificationConfiguration={
                "QueueConfigurations": [
                    {"QueueArn": live.arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
                ]
            },
        )
        running.consume(live)

        seconds = until_seen(
            running, live, lambda: s3.put_object(Bucket=bucket, Key="a+b c", Body=b"x"), "a%2Bb+c"
        )
        until_seen(
            running, live, lambda: s3.delete_object(Bucket=bucket, Key="a+b c"), "ObjectRemoved"
        )

        assert all(b"Records" in body or b"s3:TestEvent" in body for body in running.inbox.bodies)
        print(f"from the PUT's answer to the journal: {1000 * seconds:.0f} ms")

    @pytest.mark.parametrize("raw", ["true", "false"])
    def test_s3_to_sns_to_sqs(
        self, ministack: S3Server, bucket: str, running: Running, raw: str
    ) -> None:
        live = LiveQueue(ministack)
        sns, s3 = client(ministack, "sns"), ministack.client()
        topic = sns.create_topic(Name=f"test-topic-{next(_numbers)}")["TopicArn"]
        sns.subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=live.arn,
            Attributes={"RawMessageDelivery": raw},
        )
        s3.put_bucket_notification_configuration(
            Bucket=bucket,
            NotificationConfiguration={
                "TopicConfigurations": [{"TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}]
            },
        )
        running.consume(live)

        until_seen(
            running, live, lambda: s3.put_object(Bucket=bucket, Key="key", Body=b"x"), "ObjectCr"
        )

        (body,) = [body for body in running.inbox.bodies if b"ObjectCreated" in body]
        document = json.loads(body)
        assert ("Records" in document) == (raw == "true")
        assert raw == "true" or "Records" in json.loads(document["Message"])

    def test_s3_to_eventbridge_to_sqs(
        self, ministack: S3Server, bucket: str, running: Running
    ) -> None:
        live = LiveQueue(ministack)
        events, s3 = client(ministack, "events"), ministack.client()
        rule = f"test-rule-{next(_numbers)}"
        pattern = {"source": ["aws.s3"], "detail": {"bucket": {"name": [bucket]}}}
        events.put_rule(Name=rule, EventPattern=json.dumps(pattern))
        events.put_targets(Rule=rule, Targets=[{"Id": "queue", "Arn": live.arn}])
        s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
        )
        running.consume(live)

        until_seen(
            running,
            live,
            lambda: s3.put_object(Bucket=bucket, Key="a+b c", Body=b"x"),
            '"a+b c"',
        )

        assert "detail-type" in running.inbox.text()


class TestConsumer:
    def test_messages_that_nobody_finished_come_again(
        self, ministack: S3Server, running: Running
    ) -> None:
        """Another process received it and was killed before it was in the journal."""
        live = LiveQueue(ministack)
        live.send("body")
        assert len(live.queue.receive(10, 0, 2)) == 1
        running.consume(live)

        eventually(lambda: running.inbox.bodies == [b"body"], SECONDS)
        eventually(lambda: live.left() == 0, SECONDS)

    def test_the_journal_fails_for_longer_than_a_message_is_hidden(
        self, ministack: S3Server, running: Running
    ) -> None:
        live = LiveQueue(ministack)
        running.inbox.problem = LedgerBusy("locked")
        live.send("body")
        consumer = running.consume(live, hidden_seconds=5)  # renewed from the middle of it on
        eventually(lambda: running.inbox.tries == 1, SECONDS)
        other = live.another()

        assert other.receive(10, 6, 30) == []  # longer than it was hidden at first
        assert "wait for the journal" in str(consumer.problem)
        running.inbox.problem = None
        eventually(lambda: live.left() == 0, SECONDS)
        other.close()

        assert running.inbox.bodies == [b"body"] and consumer.problem is None

    def test_poison_ends_in_the_dead_letter_queue(
        self, ministack: S3Server, running: Running
    ) -> None:
        dead = LiveQueue(ministack)
        policy = {"deadLetterTargetArn": dead.arn, "maxReceiveCount": "2"}
        live = LiveQueue(ministack, RedrivePolicy=json.dumps(policy))
        live.send_many(["good", "poison", "fine"])
        running.consume(live, hidden_seconds=1)

        eventually(lambda: dead.left() == 1, SECONDS)

        assert [message.body for message in dead.queue.receive(10, 0, 30)] == ["poison"]
        assert sorted(running.inbox.bodies) == [b"fine", b"good", b"poison", b"poison"]
        assert live.left() == 0
        assert [type(error) for error in running.told] == [PoisonMessage]

    def test_a_fifo_queue(self, ministack: S3Server, running: Running) -> None:
        live = LiveQueue(ministack, ".fifo", FifoQueue="true", ContentBasedDeduplication="true")
        for number in range(25):
            live.client.send_message(
                QueueUrl=live.url, MessageBody=f"{number}", MessageGroupId=f"{number % 3}"
            )
        running.consume(live)

        eventually(lambda: live.left() == 0, SECONDS)
        assert {int(body) for body in running.inbox.bodies} == set(range(25))

    def test_a_queue_that_is_made_after_the_start(
        self, ministack: S3Server, running: Running
    ) -> None:
        live = LiveQueue(ministack)
        live.remove()
        consumer = running.consume(live)
        eventually(lambda: "does not exist" in str(consumer.problem), SECONDS)

        live.client.create_queue(QueueName=live.url.rpartition("/")[2])
        live.send("body")

        eventually(lambda: running.inbox.bodies == [b"body"], SECONDS)
        assert consumer.problem is None

    def test_a_backlog_is_drained_by_two_consumers(
        self, ministack: S3Server, running: Running
    ) -> None:
        live = LiveQueue(ministack)
        bodies = [f"{number:04}" for number in range(1_000)]
        live.send_many(bodies)
        began = time.monotonic()
        running.consume(live)
        running.consume(live)

        eventually(lambda: len(running.inbox.bodies) == 1_000, 60)
        print(f"1,000 messages in {time.monotonic() - began:.1f} s")

        assert sorted(running.inbox.bodies) == [body.encode() for body in bodies]
        eventually(lambda: live.left() == 0, SECONDS)

    def test_a_long_poll_does_not_hold_the_stop(
        self, ministack: S3Server, running: Running
    ) -> None:
        live = LiveQueue(ministack)
        polling = threading.Event()
        receive = live.queue.receive

        def noticed(count: int, wait_seconds: int, hidden_seconds: int) -> list[Message]:
            polling.set()
            return receive(count, wait_seconds, hidden_seconds)

        live.queue.receive = noticed  # type: ignore[method-assign]  # to know when it polls
        consumer = running.consume(live, poll_seconds=8)
        assert polling.wait(SECONDS)
        began = time.monotonic()

        consumer.stop(SECONDS)

        assert time.monotonic() - began < 2 and consumer.receivers == 1
        live.send("body")  # what the poll still brings is given back
        eventually(lambda: consumer.receivers == 0, SECONDS)
        eventually(lambda: live.counted("ApproximateNumberOfMessages") == 1, SECONDS)
