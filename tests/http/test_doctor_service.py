"""The doctor asks the service that should be running: the real one, another one, or none."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from datasync.config.settings import Settings
from datasync.doctor.findings import Finding, Level
from datasync.doctor.rounds import looked
from datasync.doctor.service_checks import ServiceChecks
from datasync.models.access import hashed
from tests.support.servers import free_ports
from tests.support.service import BUCKET, Service, Starter
from tests.support.world import eventually


def checks_of(port: int, root: Path, needed: bool = False, **given: Any) -> ServiceChecks:
    values: dict[str, Any] = {
        "s3_bucket_name": BUCKET,
        "local_download_dir": root,
        "api_host": "127.0.0.1",
        "api_port": port,
        **given,
    }
    return ServiceChecks(Settings(**values), needed)


def found(service: Service, **given: Any) -> tuple[Finding, Finding]:
    root = given.pop("root", service.root)
    checks = checks_of(service.port, root, **given)
    return looked(checks.service), looked(checks.health)


def test_our_own_service_answers_and_says_how_it_is(service: Service) -> None:
    service.sync()
    answers, health = found(service)
    assert answers.level is Level.PASS
    assert f"127.0.0.1:{service.port}" in answers.found
    assert health.level is Level.PASS
    assert health.found.startswith("healthy, in sync: ")


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost"])
def test_where_it_listens_on_every_address_this_machine_is_asked(
    service: Service, host: str
) -> None:
    assert found(service, api_host=host)[0].level is Level.PASS


def test_with_its_keys(start_service: Starter) -> None:
    service = start_service(api_keys="first-key,second-key")
    assert found(service, api_keys="second-key")[0].level is Level.PASS


def test_with_the_key_that_other_commands_ask_a_service_by(
    start_service: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service's own keys are hashes, as `datasync keys new` makes them."""
    service = start_service(api_keys="first-key")
    monkeypatch.setenv("DATASYNC_API_KEY", "first-key")
    known = f"ops:{hashed('first-key')}:admin"
    assert [each.level for each in found(service, api_keys=known)] == [Level.PASS] * 2


@pytest.mark.parametrize("given", [{}, {"api_keys": "another-key"}])
@pytest.mark.parametrize("needed", [False, True])
def test_with_other_keys_it_cannot_be_told_whose_it_is(
    start_service: Starter, given: dict[str, str], needed: bool
) -> None:
    service = start_service(api_keys="first-key")
    answers, health = found(service, needed=needed, **given)
    without_failing = Level.WARN if given else Level.SKIP
    assert answers.level is (Level.FAIL if needed else without_failing)
    assert "does not take our key" in answers.found
    assert "DATASYNC_API_KEY" in f"{answers.found} {answers.advice}"
    assert health.level is Level.SKIP


def test_a_service_of_another_bucket_prefix_or_directory(service: Service, tmp_path: Path) -> None:
    others: tuple[dict[str, Any], ...] = (
        {"s3_bucket_name": "another-bucket"},
        {"s3_prefix": "in/"},
        {"root": tmp_path / "elsewhere"},
    )
    for other in others:
        answers, _ = found(service, **other)
        assert answers.level is Level.FAIL
        assert "is a DataSync of another" in answers.found
        assert "API_PORT" in answers.advice


def test_a_directory_by_another_name_is_the_same(service: Service, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(service.root)
    assert found(service, root=tmp_path / "link")[0].level is Level.PASS


def test_a_service_that_is_not_well(service: Service) -> None:
    service.root.rename(service.root.with_name("unmounted"))
    eventually(lambda: service.api.get("/sync/health").status_code == 503)
    _, health = found(service)
    assert health.level is Level.FAIL
    assert health.found.startswith("unhealthy, not in sync: ")
    service.root.with_name("unmounted").rename(service.root)


@pytest.mark.parametrize("needed", [False, True])
def test_no_service(tmp_path: Path, needed: bool) -> None:
    checks = checks_of(free_ports(1)[0], tmp_path, needed)
    finding = looked(checks.service)
    assert finding.level is (Level.FAIL if needed else Level.WARN)
    assert ("--canary needs one" in finding.found) == needed
    assert "datasync serve" in finding.advice
    assert looked(checks.health).level is Level.SKIP


@contextmanager
def another_program(answers: dict[str, object], status: int = 200) -> Iterator[int]:
    """A web server that is no DataSync; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers.get(self.path, "hello")).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    "answers, status, words",
    [
        ({}, 200, "another program"),
        ({"/ping": {"message": "pong"}}, 404, "another program"),
        ({"/ping": [1]}, 200, "another program"),
        ({"/ping": {"message": "pong"}, "/sync/config": [1]}, 200, "of another bucket"),
    ],
)
def test_another_program_on_our_port(
    tmp_path: Path, answers: dict[str, object], status: int, words: str
) -> None:
    with another_program(answers, status) as port:
        finding = looked(checks_of(port, tmp_path).service)
    assert finding.level is Level.FAIL
    assert words in finding.found
