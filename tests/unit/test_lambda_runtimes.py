"""The packed forwarder in bare interpreters, and behind the client of Lambda's runtime API."""

import json
import os
import queue
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasync.forwarder import zipped
from tests.support.forwarding import (
    EVENTBRIDGE_EVENT,
    S3_EVENT,
    SNS_EVENT,
    SOURCE,
    TEST_EVENT,
    batch,
    failures,
    message,
    refuse,
    refuse_if,
)
from tests.support.scripted_server import (
    Peer,
    ScriptedServer,
    Seen,
    answer,
    stall_before_head,
)
from tests.support.servers import ServerProcess
from tests.support.world import eventually

VERSIONS = [f"3.{minor}" for minor in range(9, 15)]
ENTRY = "s3_lambda_handler.lambda_handler"

# What Lambda does, in short: the zip file on the path, the module imported, invocations one by one.
INVOKE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import s3_lambda_handler as handler
for event in json.loads(sys.argv[2]):
    print(json.dumps(handler.lambda_handler(event, None)), file=sys.stderr)
assert len(handler._kept) == 1
handler._kept.pop()[0].close()
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip file that is uploaded."""
    path = tmp_path_factory.mktemp("package") / "forwarder.zip"
    path.write_bytes(zipped(SOURCE))
    return path


@pytest.fixture(scope="module")
def interpreters() -> dict[str, Path]:
    """The Pythons of this machine that Lambda has too, and the one that runs the tests."""
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    folders += Path.home().glob(".pyenv/versions/*/bin")
    found = {"this": Path(sys.executable)}
    for version in VERSIONS:
        places = [folder / f"python{version}" for folder in folders]
        working = next((place for place in places if _works(place, version)), None)
        found |= {version: working} if working else {}
    return found


class TestBareInterpreters:
    def test_every_source_of_events_is_delivered(
        self, interpreters: dict[str, Path], package: Path, service: ScriptedServer
    ) -> None:
        events = [S3_EVENT, SNS_EVENT, EVENTBRIDGE_EVENT, batch(message("one"), message("two"))]
        for version, interpreter in interpreters.items():
            service.requests.clear()
            ran = _invoke(interpreter, package, service, events)
            assert ran.returncode == 0, (version, ran.stderr)
            assert [json.loads(seen.body) for seen in service.requests] == events, version
            assert all("x-datasync-signature" in seen.headers for seen in service.requests)
            assert json.loads(ran.stderr.splitlines()[-1]) == failures(), version
        assert service.connections == len(interpreters)
        print("tested with", ", ".join(sorted(interpreters)))

    def test_what_was_not_taken_raises(
        self, interpreters: dict[str, Path], package: Path, service: ScriptedServer
    ) -> None:
        service.script(refuse(403))
        for version, interpreter in interpreters.items():
            ran = _invoke(interpreter, package, service, [S3_EVENT])
            assert ran.returncode == 1, version
            assert "Refused: the service answered 403: it is so" in ran.stderr, version


def _works(interpreter: Path, version: str) -> bool:
    """Some are only stand-ins that say which versions there are."""
    if not interpreter.is_file():
        return False
    code = "import ssl, zlib, sys; print('%d.%d' % sys.version_info[:2])"
    ran = subprocess.run([interpreter, "-I", "-c", code], capture_output=True, text=True)
    return ran.stdout.strip() == version


def _invoke(
    interpreter: Path, package: Path, service: ScriptedServer, events: list[Any]
) -> "subprocess.CompletedProcess[str]":
    """Run the invocations in a process without site packages, in which each warning is an error."""
    command = [str(interpreter), "-I", "-S", "-B", "-W", "error", "-c", INVOKE]
    return subprocess.run(
        [*command, str(package), json.dumps(events)],
        env={"API_ENDPOINT": service.url, "NOTIFICATION_SECRET": "hush", "RETRY_ATTEMPTS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


class RuntimeApi:
    """Lambda's runtime API on loopback: gives out invocations, takes their results."""

    def __init__(self) -> None:
        self.server = ScriptedServer()
        self.server.script(self._reply)
        self._next: queue.SimpleQueue[tuple[Any, float]] = queue.SimpleQueue()
        self._given = 0
        self.results: list[tuple[str, Any]] = []

    def invoke(self, event: Any, seconds: float = 60.0) -> tuple[str, Any]:
        """One invocation; returns "response" or "error", and the document that came back."""
        before = len(self.results)
        self._next.put((event, seconds))
        eventually(lambda: len(self.results) > before, seconds + 10)
        return self.results[-1]

    def _reply(self, peer: Peer, seen: Seen) -> bool:
        if seen.method == "GET":
            return self._give(peer, seen)
        self.results.append((seen.target.rpartition("/")[2], json.loads(seen.body)))
        return answer("202 Accepted")(peer, seen)

    def _give(self, peer: Peer, seen: Seen) -> bool:
        while self._next.empty():
            if peer.over.wait(0.005):
                return False
        event, seconds = self._next.get()
        self._given += 1
        fields = {
            "Lambda_Runtime_Aws_Request_Id": f"request-{self._given}",
            "Lambda_Runtime_Deadline_Ms": str(int((time.time() + seconds) * 1000)),
            "Content_Type": "application/json",
        }
        return answer("200 OK", json.dumps(event).encode(), **fields)(peer, seen)


class TestRuntimeClient:
    @pytest.fixture
    def lambda_(
        self, package: Path, service: ScriptedServer, tmp_path: Path
    ) -> Iterator[RuntimeApi]:
        """The function as Lambda runs it, in a process of its own."""
        api = RuntimeApi()
        variables = {
            "AWS_LAMBDA_RUNTIME_API": api.server.url.removeprefix("http://"),
            "PYTHONPATH": str(package),
            "API_ENDPOINT": service.url,
            "NOTIFICATION_SECRET": "hush",
            "RETRY_ATTEMPTS": "2",
        }
        process = ServerProcess([sys.executable, "-m", "awslambdaric", ENTRY], tmp_path, variables)
        try:
            yield api
        finally:
            process.stop()
            api.server.close()

    def test_a_delivered_event_is_a_response(
        self, lambda_: RuntimeApi, service: ScriptedServer, tmp_path: Path
    ) -> None:
        wanted = {"statusCode": 202, "records": 1, "attempts": 1}
        assert lambda_.invoke(S3_EVENT) == ("response", wanted)
        assert lambda_.invoke(SNS_EVENT) == ("response", wanted)
        assert [json.loads(seen.body) for seen in service.requests] == [S3_EVENT, SNS_EVENT]
        assert service.connections == 1
        lines = [json.loads(line) for line in (tmp_path / "server.log").read_text().splitlines()]
        assert [line["request_id"] for line in lines] == ["request-1", "request-2"]
        assert {line["message"] for line in lines} == {"delivered"}

    def test_an_event_that_was_not_taken_is_an_error_and_the_next_one_arrives(
        self, lambda_: RuntimeApi, service: ScriptedServer
    ) -> None:
        service.script(refuse(503), refuse(503), answer("202 Accepted"))
        kind, told = lambda_.invoke(S3_EVENT)
        assert (kind, told["errorType"]) == ("error", "DeliveryFailed")
        assert told["errorMessage"] == "the service answered 503: it is so (try 2)"
        assert lambda_.invoke(S3_EVENT)[0] == "response"

    def test_a_batch_names_what_failed(self, lambda_: RuntimeApi, service: ScriptedServer) -> None:
        service.script(refuse_if(lambda seen: b'"bad"' in seen.body))
        event = batch(message("good"), message("bad"), message("fine"))
        assert lambda_.invoke(event) == ("response", failures("bad"))

    def test_it_fails_in_words_before_lambda_ends_it(
        self, lambda_: RuntimeApi, service: ScriptedServer
    ) -> None:
        lambda_.invoke(TEST_EVENT)  # the process is there now
        service.script(stall_before_head())
        started = time.monotonic()
        kind, told = lambda_.invoke(S3_EVENT, seconds=2.5)
        assert time.monotonic() - started < 2.5
        assert (kind, "timed out" in told["errorMessage"]) == ("error", True)

    def test_what_is_no_s3_event_is_an_error(
        self, lambda_: RuntimeApi, service: ScriptedServer
    ) -> None:
        assert lambda_.invoke({"hello": "world"})[1]["errorType"] == "ValueError"
        assert service.requests == []
