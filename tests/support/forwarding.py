"""The Lambda forwarder as Lambda loads it, a service that takes what it sends, and its events."""

import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.scripted_server import Peer, Reply, ScriptedServer, Seen, answer

SOURCE = Path(__file__).resolve().parents[2] / "lambda" / "s3_lambda_handler.py"
VARIABLES = ("API_KEY", "NOTIFICATION_SECRET", "TIMEOUT_SECONDS", "RETRY_ATTEMPTS")

RECORD = {
    "eventVersion": "2.1",
    "eventSource": "aws:s3",
    "eventName": "ObjectCreated:Put",
    "s3": {"bucket": {"name": "b"}, "object": {"key": "a+b%2Bc%C3%BC//../x"}},
}
S3_EVENT: dict[str, Any] = {"Records": [RECORD]}
SNS_EVENT: dict[str, Any] = {
    "Records": [
        {"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": {"Message": json.dumps(S3_EVENT)}}
    ]
}
EVENTBRIDGE_EVENT: dict[str, Any] = {
    "version": "0",
    "detail-type": "Object Created",
    "source": "aws.s3",
    "detail": {"bucket": {"name": "b"}, "object": {"key": "grüße +%20/ö"}},
}
TEST_EVENT: dict[str, Any] = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}


def message(name: str, size: int = 0) -> dict[str, Any]:
    """One record of an SQS batch whose body names it; `size` more bytes make it large."""
    body = json.dumps({"Records": [{**RECORD, "name": name, "filling": "x" * size}]})
    return {"messageId": name, "eventSource": "aws:sqs", "body": body}


def batch(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"Records": list(messages)}


def failures(*names: str) -> dict[str, Any]:
    """The answer that gives these messages back to the queue."""
    return {"batchItemFailures": [{"itemIdentifier": name} for name in names]}


def accept() -> Reply:
    return answer("202 Accepted", b'{"status": "accepted"}', Content_Type="application/json")


def refuse(status: int, detail: str = "it is\nso", **fields: str) -> Reply:
    """The service's own shape of an error."""
    body = json.dumps({"error": "X", "detail": detail, "hint": ""}).encode()
    return answer(f"{status} No", body, **fields)


def refuse_if(wrong: Callable[[Seen], bool], status: int = 400) -> Reply:
    """Take every body but the wrong ones."""

    def reply(peer: Peer, seen: Seen) -> bool:
        return (refuse(status) if wrong(seen) else accept())(peer, seen)

    return reply


def accept_and_close(peer: Peer, seen: Seen) -> bool:
    """The last answer of its connection, which does not say so."""
    accept()(peer, seen)
    return False


def endless_beginning(peer: Peer, seen: Seen) -> bool:
    """Each byte comes in time, the first line never does."""
    while not peer.over.wait(0.05):
        peer.send(b"x")
    return False


class Context:
    """What Lambda tells of an invocation."""

    aws_request_id = "request-1"

    def __init__(self, remaining_millis: int = 60_000) -> None:
        self.remaining_millis = remaining_millis

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_millis


class Clock:
    """Takes the place of the module `time`: pauses are written down and are over at once."""

    gmtime = staticmethod(time.gmtime)
    strftime = staticmethod(time.strftime)

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.ahead += seconds


def load_handler() -> ModuleType:
    """The file as a fresh module."""
    spec = importlib.util.spec_from_file_location("s3_lambda_handler", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def clock() -> Clock:
    """The handler's clock."""
    return Clock()


@pytest.fixture
def service() -> Iterator[ScriptedServer]:
    """A server that accepts everything until a test scripts it."""
    with ScriptedServer() as server:
        server.script(accept())
        yield server


@pytest.fixture
def handler(
    service: ScriptedServer, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> Iterator[ModuleType]:
    """The forwarder, with the service as its target and no real pauses."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("API_ENDPOINT", service.url)
    module = load_handler()
    monkeypatch.setattr(module, "time", clock)
    yield module
    for connection, *_ in module._kept:
        connection.close()
