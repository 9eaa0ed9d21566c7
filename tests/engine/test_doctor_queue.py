"""The doctor and a queue that allows some calls and not others; it takes no message to find out."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasync.config.loading import load_settings
from datasync.doctor.aws import Aws
from datasync.doctor.event_checks import EventChecks
from datasync.doctor.findings import Finding, Level
from datasync.doctor.rounds import looked
from tests.support.command_line import use_settings
from tests.support.scripted_server import Peer, Reply, ScriptedServer, Seen, answer

ATTRIBUTES = {"QueueArn": "arn:aws:sqs:us-east-1:1:events", "VisibilityTimeout": "60"}
DELETE, HIDE = "DeleteMessageBatch", "ChangeMessageVisibilityBatch"


def told(status: str, document: dict[str, Any]) -> Reply:
    body = json.dumps(document).encode()
    return answer(status, body, Content_Type="application/x-amz-json-1.0")


def refused(status: str, code: str) -> Reply:
    return told(status, {"__type": f"com.amazonaws.sqs#{code}", "message": "no"})


OF_ITS_ENTRY = told(
    "200 OK", {"Failed": [{"Id": "0", "Code": "ReceiptHandleIsInvalid", "SenderFault": True}]}
)


class Counter:
    """A queue that answers as scripted, and writes down what it was asked."""

    def __init__(self, server: ScriptedServer) -> None:
        self.replies = {
            "GetQueueAttributes": told("200 OK", {"Attributes": ATTRIBUTES}),
            DELETE: OF_ITS_ENTRY,
            HIDE: OF_ITS_ENTRY,
        }
        self.asked: list[str] = []
        settings = load_settings(
            aws_access_key_id="AKIAEXAMPLE",
            aws_secret_access_key="secret/of/the/key",
            s3_bucket_name="my-bucket",
            sqs_queue_url=f"{server.url}/1/events",
        )
        self.aws = Aws(settings)
        self._checks = EventChecks(settings, self.aws)
        server.script(self._reply)

    def _reply(self, peer: Peer, seen: Seen) -> bool:
        action = seen.headers["x-amz-target"].rpartition(".")[2]
        self.asked.append(action)
        return self.replies[action](peer, seen)

    def examine(self) -> dict[str, Finding]:
        checks = self._checks
        order = [checks.queue, checks.receiving, checks.deleting, checks.hiding]
        return {look.__name__: looked(look) for look in order}


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter]:
    use_settings(monkeypatch, tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ScriptedServer() as server:
        made = Counter(server)
        yield made
        made.aws.close()


def levels(findings: dict[str, Finding]) -> dict[str, str]:
    return {name: finding.level.value for name, finding in findings.items()}


def test_what_it_may_do_is_tried_on_no_message(counter: Counter) -> None:
    assert levels(counter.examine()) == {
        "queue": "pass",
        "receiving": "skip",
        "deleting": "pass",
        "hiding": "pass",
    }
    assert counter.asked == ["GetQueueAttributes", DELETE, HIDE]


@pytest.mark.parametrize(
    "call, check, permission",
    [
        (DELETE, "deleting", "sqs:DeleteMessage"),
        (HIDE, "hiding", "sqs:ChangeMessageVisibility"),
    ],
)
def test_credentials_that_may_only_look_do_not_pass(
    counter: Counter, call: str, check: str, permission: str
) -> None:
    counter.replies[call] = refused("403 No", "AccessDeniedException")
    findings = counter.examine()
    assert findings[check].level is Level.FAIL
    assert findings[check].advice == f"Grant {permission} on the queue to these credentials."
    assert [name for name, level in levels(findings).items() if level == "fail"] == [check]


def test_a_server_that_refuses_the_receipt_has_allowed_the_call(counter: Counter) -> None:
    counter.replies[DELETE] = refused("400 No", "ReceiptHandleIsInvalid")
    assert counter.examine()["deleting"].level is Level.PASS
    counter.replies[DELETE] = refused("400 No", "InvalidAddress")
    assert counter.examine()["deleting"].level is Level.FAIL


def test_what_receiving_needs_is_named_though_not_tried(counter: Counter) -> None:
    assert counter.examine()["receiving"].found.startswith("sqs:ReceiveMessage: not tried")
    keyed = {"Attributes": {**ATTRIBUTES, "KmsMasterKeyId": "alias/events"}}
    counter.replies["GetQueueAttributes"] = told("200 OK", keyed)
    assert "and kms:Decrypt on alias/events" in counter.examine()["receiving"].found
