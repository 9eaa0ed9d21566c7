"""Every route for every role, and for nobody; what is written down of who changed what."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.responses import Response

from datasync.api.dashboard import routes as dashboard
from datasync.models.access import hashed
from tests.support import fail
from tests.support.envelopes import signed
from tests.support.service import Service, Starter
from tests.support.world import eventually

OPEN, READ, OPERATE, NOTIFY = "open", "read", "operate", "notify"
ROUTES = {
    ("GET", "/"): READ,
    ("GET", "/ping"): OPEN,
    ("GET", "/health/live"): OPEN,
    ("GET", "/health/ready"): OPEN,
    ("GET", "/docs"): READ,
    ("GET", "/docs/start.js"): READ,
    ("GET", "/redoc"): READ,
    ("GET", "/openapi.json"): READ,
    ("GET", "/docs-assets/favicon.png"): READ,
    ("GET", "/metrics"): READ,
    ("GET", "/sync/health"): READ,
    ("GET", "/sync/config"): READ,
    ("GET", "/sync/stats"): READ,
    ("POST", "/sync/trigger"): OPERATE,
    ("POST", "/sync/s3-notification"): NOTIFY,
    ("GET", "/sync/files"): READ,
    ("GET", "/sync/download/{key}"): READ,
    ("HEAD", "/sync/download/{key}"): READ,
    ("GET", "/sync/runs"): READ,
    ("GET", "/sync/runs/{run_id}"): READ,
    ("POST", "/sync/runs/{run_id}/approve"): OPERATE,
    ("POST", "/sync/runs/{run_id}/cancel"): OPERATE,
    ("GET", "/sync/failures"): READ,
    ("POST", "/sync/failures/retry"): OPERATE,
    ("GET", "/sync/outcomes"): READ,
    ("GET", "/sync/activity"): READ,
    ("GET", "/sync/transfers"): READ,
    ("GET", "/sync/trash"): READ,
    ("POST", "/sync/trash/restore"): OPERATE,
    ("GET", "/ui"): READ,
    ("GET", "/ui/live"): READ,
    ("GET", "/ui/files"): READ,
    ("GET", "/ui/files/one"): READ,
    ("GET", "/ui/runs"): READ,
    ("GET", "/ui/runs/{run_id}"): READ,
    ("GET", "/ui/runs/{run_id}/live"): READ,
    ("POST", "/ui/sync"): OPERATE,
    ("POST", "/ui/runs/{run_id}/approve"): OPERATE,
    ("POST", "/ui/runs/{run_id}/cancel"): OPERATE,
    ("GET", "/ui/problems"): READ,
    ("GET", "/ui/problems/live"): READ,
    ("POST", "/ui/retry"): OPERATE,
    ("GET", "/ui/trash"): READ,
    ("POST", "/ui/trash/restore"): OPERATE,
    ("GET", "/ui/events"): READ,
    ("GET", "/ui/events/live"): READ,
    ("GET", "/ui/settings"): READ,
    ("GET", "/ui/doctor"): READ,
    ("POST", "/ui/doctor"): OPERATE,
    ("GET", "/ui/login"): OPEN,
    ("POST", "/ui/logout"): READ,
    ("GET", "/ui/{path:path}"): READ,
    ("GET", "/api/v1/health"): READ,
    ("GET", "/api/v1/stats"): READ,
    ("GET", "/api/v1/config"): READ,
    ("GET", "/no/such/route"): READ,
    ("PUT", "/sync/files"): OPERATE,
    ("DELETE", "/sync/s3-notification"): OPERATE,
}
LOGIN = ("POST", "/ui/login")  # open, and refuses whoever shows no key
KEYS = {
    role: f"{role}:the-secret-of-{role}:{role}" for role in ("read", "operate", "notify", "admin")
}
MAY = {
    "read": {READ},
    "operate": {READ, OPERATE},
    "notify": {NOTIFY},
    "admin": {READ, OPERATE, NOTIFY},
}
REFUSED = {401, 403}


def secret(role: str) -> dict[str, str]:
    return {"X-API-Key": f"the-secret-of-{role}"}


@pytest.fixture
def keyed(start_service: Starter) -> Service:
    return start_service(api_keys=tuple(KEYS.values()))


def filled(path: str) -> str:
    return path.replace("{path:path}", "nowhere").format(key="a", run_id=1)


def status_of(service: Service, method: str, path: str, headers: dict[str, str]) -> int:
    """The head of the answer tells it: the body of a page that is followed has no end."""
    with service.api.stream(method, filled(path), headers=headers) as answer:
        return answer.status_code


@pytest.fixture(autouse=True)
def no_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    async def visit(*_: object) -> Response:
        return Response()

    monkeypatch.setattr(dashboard, "_visit", visit)


def test_the_matrix_has_every_route(service: Service) -> None:
    described = {
        (method.upper(), path)
        for path, methods in service.app.openapi()["paths"].items()
        for method in methods
    }
    plain = {
        (method, str(getattr(route, "path", "")))
        for route in (*service.app.routes, *dashboard.router.routes)
        for method in getattr(route, "methods", None) or ()
        if method != "HEAD"
    }
    assert described | plain <= ROUTES.keys() | {LOGIN}


@pytest.mark.parametrize("role", MAY)
def test_a_role_reaches_its_routes_and_no_others(keyed: Service, role: str) -> None:
    for (method, path), needed in ROUTES.items():
        status = status_of(keyed, method, path, secret(role))
        if needed in MAY[role] | {OPEN}:
            assert status not in REFUSED, (method, path)
        else:
            assert status == 403, (method, path)


def test_without_a_key_only_open_routes_are_reached(keyed: Service) -> None:
    for (method, path), needed in ROUTES.items():
        status = status_of(keyed, method, path, {})
        assert (status == 401) is (needed != OPEN), (method, path)


def test_with_no_keys_at_all_a_remote_client_reaches_ping_and_liveness_only(
    service: Service,
) -> None:
    async def ask() -> dict[tuple[str, str], int]:
        transport = httpx.ASGITransport(service.app, client=("203.0.113.9", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return {
                (method, path): (await client.request(method, filled(path))).status_code
                for method, path in ROUTES
            }

    reached = {route for route, status in anyio.run(ask).items() if status != 401}
    assert reached == {("GET", "/ping"), ("GET", "/health/live")}


def test_a_role_that_is_not_enough_is_told_so(keyed: Service) -> None:
    answer = keyed.api.post("/sync/trigger", headers=secret("read"))
    assert answer.json() == {
        "error": "Forbidden",
        "detail": "the key 'read' has the role read, which may not operate",
        "hint": "Use a key of another role, or change this one's in API_KEYS.",
    }
    assert "www-authenticate" not in answer.headers


def test_a_hash_lets_its_secret_in_and_not_itself(start_service: Starter) -> None:
    service = start_service(api_keys=(f"ci:{hashed('hush-hush')}:read",))
    assert service.api.get("/sync/stats", headers={"X-API-Key": "hush-hush"}).status_code == 200
    for wrong in (hashed("hush-hush"), f"ci:{hashed('hush-hush')}:read"):
        assert service.api.get("/sync/stats", headers={"X-API-Key": wrong}).status_code == 401


# Changes while it runs


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("ci:old-secret:read\n")
    return path


def changes(service: Service) -> int:
    return service.log().count("secret changed")


def _status(service: Service, key: str) -> int:
    return service.api.get("/sync/stats", headers={"X-API-Key": key}).status_code


def test_keys_are_rotated_without_a_restart(start_service: Starter, keys_file: Path) -> None:
    service = start_service(api_keys_file=keys_file)
    assert (_status(service, "old-secret"), _status(service, "new-secret")) == (200, 401)
    keys_file.write_text("ci:old-secret:read\nci-2:new-secret:read\n")
    eventually(lambda: _status(service, "old-secret") == 200 and changes(service) == 1)
    assert _status(service, "new-secret") == 200
    keys_file.write_text("ci-2:new-secret:read\n")
    eventually(lambda: _status(service, "new-secret") == 200 and changes(service) == 2)
    assert _status(service, "old-secret") == 401
    assert "old-secret" not in service.log() and "new-secret" not in service.log()


@pytest.mark.parametrize("text", ["", "# nobody\n", "ci:new-secret:root\n", "ä\n"])
def test_a_bad_keys_file_lets_nobody_in_and_nobody_out(
    start_service: Starter, keys_file: Path, text: str
) -> None:
    """Above all, a file without keys must not open the service to this machine."""
    service = start_service(api_keys_file=keys_file)
    keys_file.write_text(text)
    eventually(lambda: _refused(service) and "cannot be used" in service.log())
    assert _status(service, "old-secret") == 200
    assert service.api.get("/sync/stats").status_code == 401


def _refused(service: Service) -> bool:
    return service.api.get("/sync/stats").status_code == 401


def test_the_secret_of_notifications_is_rotated_too(start_service: Starter, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old-secret")
    service = start_service(notification_secret_file=path, api_keys=("a-key",))
    body = json.dumps({"Records": []}).encode()

    def status(secret: str) -> int:
        return service.api.post(
            "/sync/s3-notification", content=body, headers=signed(body, secret)
        ).status_code

    assert (status("old-secret") != 401, status("new-secret")) == (True, 401)
    path.write_text("new-secret")
    # The file is looked at when a signature is: a right one, which is no guess.
    eventually(lambda: status("old-secret") == 401 or changes(service) == 1)
    assert (status("new-secret") != 401, status("old-secret")) == (True, 401)


# The audit


def audited(service: Service) -> Iterator[dict[str, Any]]:
    for line in service.log().splitlines():
        said = json.loads(line)
        if said.get("logger") == "datasync.audit":
            yield said


def test_every_change_is_written_down_with_who_asked_for_it(keyed: Service) -> None:
    keyed.post("/sync/trigger?prefix=a/", headers=secret("operate"))
    keyed.api.post("/sync/runs/99/approve", headers=secret("admin"))
    keyed.api.post("/sync/trigger", headers=secret("read"))
    keyed.api.post("/sync/trigger")
    keyed.get("/sync/runs", headers=secret("operate"))
    keyed.api.post("/sync/s3-notification", headers=secret("notify"), json={"Records": []})
    eventually(lambda: len(list(audited(keyed))) == 4)  # lines follow answers
    found = [
        (said["caller"], said["role"], said["path"], said["query"], said["status"])
        for said in audited(keyed)
    ]
    assert found == [
        ("operate", "operate", "/sync/trigger", "prefix=a/", 200),
        ("admin", "admin", "/sync/runs/99/approve", "", 404),
        ("read", "read", "/sync/trigger", "", 403),
        (None, None, "/sync/trigger", "", 401),
    ]
    assert all(said["client"] == "127.0.0.1" and said["request_id"] for said in audited(keyed))


def test_without_keys_changes_are_this_machines(service: Service) -> None:
    service.sync()
    eventually(lambda: list(audited(service)))  # the line follows the answer
    (said,) = audited(service)
    assert (said["caller"], said["role"]) == ("local", "admin")


# Probes


def test_probes_say_whether_it_lives_and_is_ready(keyed: Service) -> None:
    assert keyed.get("/health/live") == {"status": "alive"}
    assert keyed.get("/health/ready") == {"status": "ready"}
    keyed.root.rename(keyed.root.with_name("gone"))
    keyed.root.write_text("a file is no directory")
    eventually(lambda: keyed.api.get("/health/ready").status_code == 503)
    assert keyed.api.get("/health/ready").json() == {"status": "not ready"}
    assert keyed.get("/health/live") == {"status": "alive"}


def test_a_bucket_that_does_not_answer_leaves_it_ready(service: Service) -> None:
    service.bucket.put("a", b"x")
    service.sync()
    service.bucket.script_check(*[fail.status(503)] * 10)
    assert service.get("/sync/health", status=503)["s3_connection"] is False
    assert service.get("/health/ready") == {"status": "ready"}
