"""The real forwarder in a local AWS: every way to call it, and what happens when nobody answers."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from datasync.demo.cloud import REGION, Cloud
from datasync.forwarder import handler_file, zipped
from tests.support.forwarding import S3_EVENT, TEST_EVENT, accept, refuse_if
from tests.support.s3_server import S3Server
from tests.support.scripted_server import ScriptedServer
from tests.support.servers import free_ports
from tests.support.service_process import ServiceProcess
from tests.support.world import eventually

SECONDS = 30.0
ACCOUNT = "000000000000"


class Aws:
    """Clients of the local AWS, and what the tests deploy on it."""

    def __init__(self, server: S3Server) -> None:
        client = Cloud(server.endpoint_url).client
        self.s3, self.sqs, self.sns = client("s3"), client("sqs"), client("sns")
        self.functions, self.logs, self.events = client("lambda"), client("logs"), client("events")

    def queue(self, name: str, **attributes: str) -> tuple[str, str]:
        """A queue's URL and ARN."""
        url = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"

    def messages(self, url: str) -> list[str]:
        """The bodies of the messages that can be received now; they are received by that."""
        got = self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        return [message["Body"] for message in got.get("Messages", [])]

    def function(self, name: str, endpoint: str, dead_letters: str = "", retries: int = 1) -> str:
        """The forwarder, with so many retries by Lambda itself; returns its ARN."""
        made = self.functions.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role=f"arn:aws:iam::{ACCOUNT}:role/forwarder",
            Handler="s3_lambda_handler.lambda_handler",
            Code={"ZipFile": zipped(handler_file())},
            Timeout=35,
            Environment={"Variables": {"API_ENDPOINT": endpoint, "RETRY_ATTEMPTS": "1"}},
            **({"DeadLetterConfig": {"TargetArn": dead_letters}} if dead_letters else {}),
        )
        self.functions.put_function_event_invoke_config(
            FunctionName=name, MaximumRetryAttempts=retries
        )
        return str(made["FunctionArn"])

    def allow(self, function: str, service: str) -> None:
        self.functions.add_permission(
            FunctionName=function,
            StatementId=service,
            Action="lambda:InvokeFunction",
            Principal=f"{service}.amazonaws.com",
        )

    def notify(self, bucket: str, **configuration: Any) -> None:
        self.s3.put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration=configuration
        )

    def call(self, bucket: str, function_arn: str) -> None:
        """The bucket calls the function itself."""
        self.allow(function_arn.rpartition(":")[2], "s3")
        target = {"LambdaFunctionArn": function_arn, "Events": ["s3:ObjectCreated:*"]}
        self.notify(bucket, LambdaFunctionConfigurations=[target])

    def lines(self, function: str) -> list[dict[str, Any]]:
        """What the function has logged."""
        group = f"/aws/lambda/{function}"
        if not self.logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
            return []
        events = self.logs.filter_log_events(logGroupName=group)["events"]
        return [json.loads(e["message"]) for e in events if e["message"].startswith("{")]


@pytest.fixture
def aws(ministack: S3Server) -> Aws:
    return Aws(ministack)


@pytest.fixture
def recorder() -> Iterator[ScriptedServer]:
    """In the place of the service: takes everything that does not say "bad"."""
    with ScriptedServer() as server:
        server.script(refuse_if(lambda seen: b"bad" in seen.body))
        yield server


def put(aws: Aws, bucket: str, key: str = "a b+c/ü.txt") -> float:
    """Put an object; returns when that was answered."""
    aws.s3.put_object(Bucket=bucket, Key=key, Body=b"body")
    return time.monotonic()


def posted(server: ScriptedServer) -> list[Any]:
    """What arrived, without the greetings of S3."""
    bodies = [json.loads(seen.body) for seen in server.requests]
    return [body for body in bodies if body.get("Event") != "s3:TestEvent"]


class TestSources:
    def test_a_bucket(self, aws: Aws, ministack_bucket: str, recorder: ScriptedServer) -> None:
        aws.call(ministack_bucket, aws.function("from-bucket", recorder.url))
        answered = put(aws, ministack_bucket)
        eventually(lambda: posted(recorder), SECONDS)
        print(f"from the answer to PUT to the service: {time.monotonic() - answered:.3f} s, cold")
        (event,) = posted(recorder)
        assert event["Records"][0]["s3"]["object"]["key"] == "a+b%2Bc/%C3%BC.txt"
        answered = put(aws, ministack_bucket)
        eventually(lambda: len(posted(recorder)) == 2, SECONDS)
        print(f"from the answer to PUT to the service: {time.monotonic() - answered:.3f} s, warm")

    def test_a_topic(self, aws: Aws, ministack_bucket: str, recorder: ScriptedServer) -> None:
        function = aws.function("from-topic", recorder.url)
        topic = aws.sns.create_topic(Name="forwarded")["TopicArn"]
        aws.allow("from-topic", "sns")
        aws.sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function)
        aws.notify(
            ministack_bucket,
            TopicConfigurations=[{"TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}],
        )
        put(aws, ministack_bucket)
        eventually(lambda: any("Put" in message for message in _told(recorder)), SECONDS)
        assert any("a+b%2Bc/%C3%BC.txt" in message for message in _told(recorder))

    def test_an_event_bus(self, aws: Aws, ministack_bucket: str, recorder: ScriptedServer) -> None:
        function = aws.function("from-bus", recorder.url)
        pattern = {"source": ["aws.s3"], "detail": {"bucket": {"name": [ministack_bucket]}}}
        aws.events.put_rule(Name="forwarded", EventPattern=json.dumps(pattern))
        aws.allow("from-bus", "events")
        aws.events.put_targets(Rule="forwarded", Targets=[{"Id": "1", "Arn": function}])
        aws.notify(ministack_bucket, EventBridgeConfiguration={})
        put(aws, ministack_bucket)
        eventually(lambda: posted(recorder), SECONDS)
        event = posted(recorder)[0]
        assert event["detail-type"] == "Object Created"
        assert event["detail"]["object"]["key"] == "a b+c/ü.txt"

    def test_a_queue_keeps_only_what_was_refused(self, aws: Aws, recorder: ScriptedServer) -> None:
        dead_url, dead_arn = aws.queue("batches-dead")
        # Five times, as the template has it: a function that starts slowly has a message twice.
        redrive = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": "5"})
        url, arn = aws.queue("batches", VisibilityTimeout="6", RedrivePolicy=redrive)
        for number in range(4):
            body = json.dumps(S3_EVENT) if number != 2 else '{"bad": 1}'
            aws.sqs.send_message(QueueUrl=url, MessageBody=body)
        _map(aws, "from-queue", recorder.url, arn)
        eventually(lambda: _depth(aws, dead_url), 2 * SECONDS)
        assert aws.messages(dead_url) == ['{"bad": 1}']
        eventually(lambda: _depth(aws, url) == 0, SECONDS)
        good = [body for body in posted(recorder) if "bad" not in json.dumps(body)]
        assert sum(len(body["Records"]) for body in good) >= 3  # a queue may deliver twice


class TestServiceDown:
    def test_lambda_tries_again_and_delivers(self, aws: Aws, ministack_bucket: str) -> None:
        """Nobody listens during the whole of the first try."""
        dead_url, dead_arn = aws.queue("retried-dead")
        port = free_ports(1)[0]
        function = aws.function("retried", f"http://127.0.0.1:{port}", dead_arn, retries=2)
        aws.call(ministack_bucket, function)
        put(aws, ministack_bucket)
        eventually(lambda: _failures(aws, "retried"), SECONDS)
        with ScriptedServer(port=port) as server:
            server.script(accept())
            eventually(lambda: posted(server), SECONDS)
            (event,) = posted(server)
        assert event["Records"][0]["s3"]["object"]["key"] == "a+b%2Bc/%C3%BC.txt"
        eventually(lambda: aws.lines("retried")[-1]["message"] == "delivered", SECONDS)
        assert len(_failures(aws, "retried")) in (1, 2)
        assert aws.messages(dead_url) == []

    def test_when_every_try_fails_the_event_is_in_the_dead_letter_queue(
        self, aws: Aws, ministack_bucket: str
    ) -> None:
        dead_url, dead_arn = aws.queue("lost-dead")
        function = aws.function("lost", f"http://127.0.0.1:{free_ports(1)[0]}", dead_arn)
        aws.call(ministack_bucket, function)
        put(aws, ministack_bucket)
        eventually(lambda: _depth(aws, dead_url), SECONDS)
        assert "a+b%2Bc/%C3%BC.txt" in aws.messages(dead_url)[0]
        assert len(_failures(aws, "lost")) == 2

    def test_what_the_dead_letter_queue_keeps_can_be_handed_over_again(
        self, aws: Aws, recorder: ScriptedServer
    ) -> None:
        """The function reads its own dead-letter queue, as Redrive=true of the template has it."""
        url, arn = aws.queue("redriven-dead", VisibilityTimeout="1")
        aws.sqs.send_message(QueueUrl=url, MessageBody=json.dumps(S3_EVENT))
        _map(aws, "redriven", recorder.url, arn)
        eventually(lambda: posted(recorder), SECONDS)
        (record,) = posted(recorder)[0]["Records"]
        assert json.loads(record["body"]) == S3_EVENT
        eventually(lambda: _depth(aws, url) == 0, SECONDS)


class TestMirrorOfAServiceThatWasDown:
    def test_the_retried_event_alone_brings_the_file(
        self, aws: Aws, ministack: S3Server, ministack_bucket: str, tmp_path: Path
    ) -> None:
        port = str(free_ports(1)[0])
        endpoint = f"http://127.0.0.1:{port}"
        aws.call(ministack_bucket, aws.function("mirrored-late", endpoint, retries=2))
        put(aws, ministack_bucket)
        eventually(lambda: _failures(aws, "mirrored-late"), SECONDS)
        # Without a listing only the event can tell.
        given = {"API_PORT": port, "ENABLE_PERIODIC_SYNC": "false"}
        with ServiceProcess(ministack, ministack_bucket, tmp_path, **given) as service:
            service.wait_until_up()
            eventually(lambda: service.files() == {"a b+c/ü.txt": b"body"}, SECONDS)
            assert service.get("/sync/stats")["drift"] == 0

    def test_a_change_whose_event_was_lost_is_found_and_reported_as_drift(
        self, aws: Aws, ministack: S3Server, ministack_bucket: str, tmp_path: Path
    ) -> None:
        port = str(free_ports(1)[0])
        dead_url, dead_arn = aws.queue("mirrored-dead")
        endpoint = f"http://127.0.0.1:{port}"
        put(aws, ministack_bucket, "old.txt")
        with ServiceProcess(ministack, ministack_bucket, tmp_path, API_PORT=port) as service:
            service.wait_until_up()
            eventually(service.caught_up, SECONDS)
            service.terminate()
        aws.call(ministack_bucket, aws.function("mirrored-never", endpoint, dead_arn, retries=0))
        put(aws, ministack_bucket)
        eventually(lambda: _depth(aws, dead_url), SECONDS)
        with ServiceProcess(ministack, ministack_bucket, tmp_path, API_PORT=port) as service:
            service.wait_until_up()
            eventually(service.caught_up, SECONDS)
            assert service.files() == {"old.txt": b"body", "a b+c/ü.txt": b"body"}
            assert service.get("/sync/stats")["drift"] == 1
            newest = service.get("/sync/runs?limit=1")["runs"][0]
            assert (newest["status"], newest["drift"]) == ("success", 1)
            told = httpx.get(f"{service.url}/metrics", trust_env=False, verify=False).text
            assert "datasync_last_run_drift 1.0" in told


def _told(server: ScriptedServer) -> list[str]:
    """The messages of SNS that arrived."""
    return [record["Sns"]["Message"] for body in posted(server) for record in body["Records"]]


def _map(aws: Aws, name: str, endpoint: str, queue_arn: str) -> None:
    """A forwarder that reads the queue; it runs already, so that no message waits for its start."""
    aws.function(name, endpoint)
    aws.functions.invoke(FunctionName=name, Payload=json.dumps(TEST_EVENT))
    aws.functions.create_event_source_mapping(
        EventSourceArn=queue_arn,
        FunctionName=name,
        BatchSize=10,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )


def _failures(aws: Aws, function: str) -> list[dict[str, Any]]:
    return [line for line in aws.lines(function) if line["message"] == "delivery failed"]


def _depth(aws: Aws, url: str) -> int:
    """Messages in the queue, those under way included."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(found[name]) for name in names)
