"""What every route says while the service itself is in trouble: briefly, in one form, no more."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from datasync.api.middleware import SAFE_HEADERS
from datasync.services.storage.ledger import Ledger
from tests.http.test_attacks import routes
from tests.http.test_notification import record, records
from tests.support.attacks import Route, request
from tests.support.raw_http import Answer, exchange
from tests.support.service import Service, Starter

NEVER_TOLD = ("Traceback", ".py", "sqlite3", "SELECT", "secret-of-the-fault")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, start_service: Starter) -> Iterator[Service]:
    """A service that waits for others' writes for a moment only."""
    open_ledger = Ledger.open.__func__  # type: ignore[attr-defined]
    monkeypatch.setitem(open_ledger.__kwdefaults__, "busy_seconds", 0.1)
    service = start_service()
    service.bucket.put("data.bin", b"data")
    service.sync()
    yield service


def ask_all(service: Service) -> Iterator[tuple[Route, Answer]]:
    for route in routes(service):
        body = b""
        if "notification" in route.path:
            body = str(records(record("a"))).replace("'", '"').encode()
        [answer] = exchange(service.port, request(route, body=body), route.method)
        yield route, answer


def assert_brief(route: Route, answer: Answer, folder: Path) -> None:
    told = (answer.head + answer.body).decode("utf-8", "replace")
    assert all(name.lower() in answer.headers for name in SAFE_HEADERS), route
    if answer.status >= 400 and "health" not in route.path:  # that tells the directory
        assert not [word for word in (*NEVER_TOLD, str(folder)) if word in told], told
        assert not answer.body or set(answer.json()) == {"error", "detail", "hint"}, told


def ledger_of(service: Service) -> Path:
    return service.root / ".datasync" / "ledger.db"


def test_a_locked_ledger_is_read_and_not_written(impatient: Service) -> None:
    with closing(sqlite3.connect(ledger_of(impatient), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        found = {str(route): answer for route, answer in ask_all(impatient)}
        for route, answer in ask_all(impatient):
            assert_brief(route, answer, impatient.folder)
            assert answer.status < 400 or route.method == "POST" or route.path == "/nowhere", route
    for name in ("POST /sync/s3-notification", "POST /sync/trigger"):
        assert found[name].status == 503
        assert found[name].json()["error"] in ("LedgerBusy", "JournalFull")
        assert int(found[name].headers["retry-after"]) >= 1


def test_a_ledger_that_is_gone_is_said_by_every_route_that_needs_it(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: Engine) -> Connection:
        fault = sqlite3.OperationalError("unable to open database file")
        raise OperationalError("SELECT secret-of-the-fault", {"key": "secret-of-the-fault"}, fault)

    monkeypatch.setattr(Engine, "connect", gone)
    without = set()
    for route, answer in ask_all(service):
        assert_brief(route, answer, service.folder)
        if answer.status == 503:
            told = answer.body.decode()
            is_probe = route.path == "/health/ready"  # that says no more than that it is not
            assert not told or is_probe or "unable to open database file" in told
        else:
            without.add(route.path)
            assert answer.status in (200, 400, 404), route
    needless = {"/", "/ping", "/health/live", "/sync/config", "/api/v1/config", "/nowhere"}
    needless |= {"/sync/trash", "/sync/trash/restore"}  # the disk is the only truth of that
    assert {path for path in without if not path.startswith(("/docs", "/redoc"))} == needless
    assert "secret-of-the-fault" not in service.log()


def test_a_fault_that_nobody_foresaw_is_the_same_for_every_route(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError(f"secret-of-the-fault in {service.folder}")

    needed = [route for route, answer in ask_all(service) if answer.status < 500]
    monkeypatch.setattr(service.app.state, "controller", Broken())
    monkeypatch.setattr(service.app.state, "desk", Broken())
    failed = []
    for route, answer in ask_all(service):
        assert_brief(route, answer, service.folder)
        if answer.status == 500:
            failed.append(route)
            assert not answer.body or answer.json()["error"] == "InternalError"
    assert len(needed) - len(failed) < 10, "few routes need no part of the service"
    assert service.log().count("secret-of-the-fault") >= len(failed)
