"""The stacks' connector, told by CloudFormation what to do: how it answers.

S3 is a stand-in here: what matters is what the function asks for with a role that names one bucket,
and no server of the tests can refuse the others. On a whole stack it runs in the live tests.
"""

import json
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.scripted_server import ScriptedServer, answer
from tests.surface.test_deployment import properties

Act = Callable[..., dict[str, Any]]


class Denied(Exception):
    """What boto3 raises for a bucket that the role does not name."""


class MissingBucket(Exception):
    """What boto3 raises for one that there is not."""


class S3:
    """Buckets with their notifications; the role may touch `allowed` only."""

    exceptions = SimpleNamespace(NoSuchBucket=MissingBucket)

    def __init__(self) -> None:
        self.found: dict[str, dict[str, Any]] = {"old": {}, "new": {}}
        self.allowed = "old"

    def get_bucket_notification_configuration(self, Bucket: str) -> dict[str, Any]:
        if Bucket != self.allowed:
            raise Denied(Bucket)
        if Bucket not in self.found:
            raise MissingBucket(Bucket)
        return {**self.found[Bucket], "ResponseMetadata": {}}

    def put_bucket_notification_configuration(
        self, Bucket: str, NotificationConfiguration: dict[str, Any]
    ) -> None:
        assert Bucket == self.allowed
        self.found[Bucket] = NotificationConfiguration


@pytest.fixture
def s3() -> S3:
    return S3()


@pytest.fixture
def act(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Act]:
    """Sends the connector a request for a bucket; gives what it answers."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setitem(sys.modules, "boto3", SimpleNamespace(client=lambda _name: s3))
    program: dict[str, Any] = {}
    exec(properties("queue", "Connector")["Code"]["ZipFile"], program)
    with ScriptedServer() as server:
        server.script(answer("200 OK", b""))

        def send(kind: str, bucket: str, known: str | None = None) -> dict[str, Any]:
            event = request_for(kind, bucket, server.url)
            program["handler"](event | ({"PhysicalResourceId": known} if known else {}), None)
            said: dict[str, Any] = json.loads(server.requests[-1].body)
            return said

        yield send


def request_for(kind: str, bucket: str, url: str) -> dict[str, Any]:
    configuration = {"Id": "stack", "QueueArn": "arn", "Events": ["s3:ObjectCreated:*"]}
    return {
        "RequestType": kind,
        "ResponseURL": url,
        "StackId": "s",
        "RequestId": "r",
        "LogicalResourceId": "l",
        "ResourceProperties": {
            "Bucket": bucket,
            "Kind": "QueueConfigurations",
            "Configuration": configuration,
        },
    }


def test_it_connects_and_disconnects(s3: S3, act: Act) -> None:
    made = act("Create", "old")
    assert (made["Status"], made["PhysicalResourceId"]) == ("SUCCESS", "old/stack")
    assert [each["Id"] for each in s3.found["old"]["QueueConfigurations"]] == ["stack"]
    assert act("Delete", "old", "old/stack")["Status"] == "SUCCESS"
    assert s3.found["old"]["QueueConfigurations"] == []


def test_another_bucket_is_refused_and_the_stack_can_go_back(s3: S3, act: Act) -> None:
    """Had it another id, CloudFormation would remove the old one: the role forbids that by then.

    What it sends to go back is an update to the old bucket, of the resource it knows.
    """
    act("Create", "old")
    connected = dict(s3.found["old"])
    s3.allowed = "new"
    refused = act("Update", "new", "old/stack")
    assert (refused["Status"], refused["PhysicalResourceId"]) == ("FAILED", "old/stack")
    assert "ConnectBucket=false" in refused["Reason"]
    s3.allowed = "old"
    assert act("Update", "old", refused["PhysicalResourceId"])["Status"] == "SUCCESS"
    assert s3.found == {"old": connected, "new": {}}


def test_a_bucket_that_is_gone_stops_no_stack_from_going(s3: S3, act: Act) -> None:
    act("Create", "old")
    del s3.found["old"]
    assert act("Delete", "old", "old/stack")["Status"] == "SUCCESS"
    assert act("Update", "old", "old/stack")["Status"] == "FAILED"


def test_what_the_role_forbids_is_told(s3: S3, act: Act) -> None:
    assert act("Create", "new") == {
        "StackId": "s",
        "RequestId": "r",
        "LogicalResourceId": "l",
        "PhysicalResourceId": "new/stack",
        "Status": "FAILED",
        "Reason": "new",
    }


@pytest.mark.parametrize(
    "prefix, filtered",
    [
        ("", ""),
        ("reports/2026/", "reports/2026/"),
        ("data/year=2026/", "data/year%3D2026/"),
        ("my data/a+b/", "my+data/a%2Bb/"),
        ("ü%/", "%C3%BC%25/"),
    ],
)
@pytest.mark.parametrize("stack", ["lambda", "queue"])
def test_a_prefix_becomes_a_filter_as_s3_compares_it(
    stack: str, prefix: str, filtered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", SimpleNamespace())
    program: dict[str, Any] = {}
    exec(properties(stack, "Connector")["Code"]["ZipFile"], program)
    rules = [{"Name": "prefix", "Value": prefix}]
    configuration = {"Id": "stack", "Filter": {"Key": {"FilterRules": rules}}}
    encoded = program["encoded"](configuration)
    assert encoded["Filter"]["Key"]["FilterRules"] == [{"Name": "prefix", "Value": filtered}]
    assert program["encoded"]({"Id": "stack"}) == {"Id": "stack"}
