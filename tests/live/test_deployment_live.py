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
        assert self._status() == ("UPDATE_COMPLETE" if known else "CREATE_COMPLETE")
        return {each["OutputKey"]: each["OutputValue"] for each in self._described()[0]["Outputs"]}

    def delete(self) -> None:
        self._stacks.delete_stack(StackName=STACK)
        eventually(lambda: not self._described(), SECONDS)

    def notifications(self) -> dict[str, Any]:
        found = self.s3.get_bucket_notification_configuration(Bucket=self.bucket)
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
