"""The queue's template, deployed on a local AWS beside what the bucket had before."""

import json
from pathlib import Path
from typing import Any

import pytest

from datasync.demo.cloud import Cloud
from tests.support.s3_server import S3Server
from tests.support.world import eventually

TEMPLATE = Path(__file__).resolve().parents[2] / "lambda" / "queue-template.yaml"
STACK = "datasync-queue"
SECONDS = 60.0


class Deployment:
    """The stack, and the bucket it is for."""

    def __init__(self, server: S3Server, bucket: str) -> None:
        client = Cloud(server.endpoint_url).client
        self.s3, self.sqs, self.sns = client("s3"), client("sqs"), client("sns")
        self.bucket = bucket
        self._stacks = client("cloudformation")

    def deploy(self, **parameters: str) -> dict[str, str]:
        """Create or update the stack; returns its outputs."""
        assert self.apply(**parameters) in ("CREATE_COMPLETE", "UPDATE_COMPLETE")
        return {each["OutputKey"]: each["OutputValue"] for each in self._described()[0]["Outputs"]}

    def apply(self, **parameters: str) -> str:
        """The same; returns the status in which it ended."""
        known = any(each["StackName"] == STACK for each in self._described())
        act = self._stacks.update_stack if known else self._stacks.create_stack
        given = {"BucketName": self.bucket, **parameters}
        act(
            StackName=STACK,
            TemplateBody=TEMPLATE.read_text(),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value} for name, value in given.items()
            ],
        )
        eventually(lambda: not self._status().endswith("_PROGRESS"), SECONDS)
        return self._status()

    def reasons(self) -> list[str]:
        """Why resources failed."""
        events = self._stacks.describe_stack_events(StackName=STACK)["StackEvents"]
        return [
            each.get("ResourceStatusReason", "")
            for each in events
            if each["ResourceStatus"].endswith("_FAILED")
        ]

    def delete(self) -> None:
        self._stacks.delete_stack(StackName=STACK)
        eventually(lambda: not self._described(), SECONDS)

    def notifications(self, bucket: str = "") -> dict[str, Any]:
        found = self.s3.get_bucket_notification_configuration(Bucket=bucket or self.bucket)
        return {kind: value for kind, value in found.items() if kind != "ResponseMetadata"}

    def _status(self) -> str:
        return str(self._described()[0]["StackStatus"])

    def _described(self) -> list[Any]:
        stacks = self._stacks.describe_stacks()["Stacks"]
        return [
            each
            for each in stacks
            if each["StackName"] == STACK and each["StackStatus"] != "DELETE_COMPLETE"
        ]


@pytest.fixture
def made(ministack: S3Server, ministack_bucket: str) -> Deployment:
    return Deployment(ministack, ministack_bucket)


def test_the_queue_path_comes_changes_and_goes(made: Deployment) -> None:
    before = _other_notification(made)
    outputs = made.deploy(Prefix="in/", AlarmEmail="ops@example.com")
    _assert_connected(made, before, "in/")
    made.s3.put_object(Bucket=made.bucket, Key="out/not-ours", Body=b"")
    made.s3.put_object(Bucket=made.bucket, Key="in/ours", Body=b"")
    assert _first_key(made, outputs["QueueUrl"]) == "in/ours"
    made.deploy(Prefix="other/")
    _assert_connected(made, before, "other/")
    made.delete()
    assert made.notifications() == before


def test_the_bucket_can_be_left_alone(made: Deployment) -> None:
    before = _other_notification(made)
    made.deploy(ConnectBucket="false")
    assert made.notifications() == before
    made.delete()


def test_another_bucket_is_connected_in_two_steps(made: Deployment) -> None:
    """In one, the first bucket's notification would stay for ever: the role names one bucket."""
    before, other = _other_notification(made), f"{made.bucket}-2"
    made.s3.create_bucket(Bucket=other)
    made.deploy()
    connected = made.notifications()
    assert made.apply(BucketName=other) == "UPDATE_ROLLBACK_COMPLETE"
    (reason,) = made.reasons()
    assert "deploy ConnectBucket=false first" in reason
    assert (made.notifications(), made.notifications(other)) == (connected, {})
    made.deploy(ConnectBucket="false")
    made.deploy(BucketName=other)
    assert made.notifications() == before
    assert made.notifications(other).keys() == {"QueueConfigurations"}
    made.delete()
    assert made.notifications(other) == {}


def _other_notification(made: Deployment) -> dict[str, Any]:
    topic = made.sns.create_topic(Name="already-there")["TopicArn"]
    other = {"Id": "other", "TopicArn": topic, "Events": ["s3:ObjectTagging:*"]}
    made.s3.put_bucket_notification_configuration(
        Bucket=made.bucket, NotificationConfiguration={"TopicConfigurations": [other]}
    )
    return made.notifications()


def _assert_connected(made: Deployment, before: dict[str, Any], prefix: str) -> None:
    found = made.notifications()
    (ours,) = found.pop("QueueConfigurations")
    assert found == before
    assert ours["Id"] == STACK
    assert ours["Filter"]["Key"]["FilterRules"] == [{"Name": "prefix", "Value": prefix}]


def _first_key(made: Deployment, url: str) -> str:
    """The key of the first event in the queue, as it stands there."""
    found: list[str] = []

    def has_come() -> bool:
        got = made.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
        bodies = [json.loads(message["Body"]) for message in got.get("Messages", [])]
        records = [record for body in bodies for record in body.get("Records", [])]
        found.extend(record["s3"]["object"]["key"] for record in records)
        return bool(found)

    eventually(has_come, SECONDS)
    return found[0]
