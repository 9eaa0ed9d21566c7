"""Who is let in: the policy by itself, and through the running service."""

import hmac
import itertools
from typing import Any

import anyio
import httpx
import pytest
from starlette.datastructures import Headers
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from datasync.api.security import FORWARDING_HEADERS, AccessPolicy, Caller, is_loopback
from datasync.app import create_app
from datasync.errors import Unauthorized
from datasync.models.access import api_keys
from tests.http.test_roles import OPEN, filled
from tests.http.test_roles import ROUTES as MATRIX
from tests.support.service import Service, Starter


def caller(host: str | None = "127.0.0.1", method: str = "GET", **headers: str) -> Caller:
    given = {"host": "localhost:8888", **{k.replace("_", "-"): v for k, v in headers.items()}}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
    return Caller(host, method, Headers(raw=raw))


def is_let_in(policy: AccessPolicy, asking: Caller) -> bool:
    try:
        policy.check(asking)
    except Unauthorized as error:
        assert error.hint
        return False
    return True


def policy_of(*keys: str, origins: tuple[str, ...] = ()) -> AccessPolicy:
    known = api_keys(keys)
    return AccessPolicy(lambda: known, origins)


KEYLESS = policy_of()
KEYED = policy_of("first-key", "zweiter-schlüssel")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_without_keys_loopback_is_let_in(host: str) -> None:
    assert is_let_in(KEYLESS, caller(host))
    assert is_let_in(KEYLESS, caller(host, "POST"))


@pytest.mark.parametrize(
    "host",
    ["10.0.0.1", "192.168.1.1", "203.0.113.9", "::ffff:10.0.0.1", "fe80::1%eth0", "::", "0.0.0.0"]
    + ["", "unix:", "testclient", None],
)
def test_without_keys_all_others_are_refused(host: str | None) -> None:
    assert not is_let_in(KEYLESS, caller(host))


@pytest.mark.parametrize(
    "name",
    sorted(FORWARDING_HEADERS)
    + ["x-original-forwarded-for", "forwarded-for", "x-forwarded", "x_real_ip", "x_forwarded_for"]
    + ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-anything"],
)
def test_without_keys_a_forwarded_request_is_refused(name: str) -> None:
    for value in (b"127.0.0.1", b""):
        raw = [(b"host", b"localhost"), (name.encode(), value)]
        assert not is_let_in(KEYLESS, Caller("127.0.0.1", "GET", Headers(raw=raw)))


@pytest.mark.parametrize(
    "host, let_in",
    [
        ("localhost", True),
        ("LOCALHOST:8888", True),
        ("localhost.", True),
        ("127.0.0.1", True),
        ("127.0.0.1:8888", True),
        ("127.1.2.3", True),
        ("[::1]", True),
        ("[::1]:8888", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("127.0.0.1@evil.example", False),
        ("localhost, evil.example", False),
        ("localhost:80#@evil.example", False),
        ("[::1", False),
        ("192.168.1.1", False),
        ("0.0.0.0", False),
        ("", False),
    ],
)
def test_without_keys_the_host_header_must_name_this_machine(host: str, let_in: bool) -> None:
    raw = [(b"host", host.encode())]
    assert is_let_in(KEYLESS, Caller("127.0.0.1", "GET", Headers(raw=raw))) is let_in


def test_without_keys_exactly_one_host_header_is_needed() -> None:
    for raw in ([], [(b"host", b"localhost"), (b"host", b"evil.example")]):
        assert not is_let_in(KEYLESS, Caller("127.0.0.1", "GET", Headers(raw=raw)))


@pytest.mark.parametrize(
    "headers, let_in",
    [
        ({}, True),
        ({"sec_fetch_site": "none"}, True),
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site"}, False),
        ({"origin": "http://localhost:8888"}, True),
        ({"origin": "http://localhost:3000"}, False),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "file://localhost:8888"}, False),
        ({"origin": "http://[", "sec_fetch_site": "same-origin"}, False),
    ],
)
def test_without_keys_another_site_may_change_nothing(
    headers: dict[str, str], let_in: bool
) -> None:
    assert is_let_in(KEYLESS, caller(method="POST", **headers)) is let_in
    assert is_let_in(KEYLESS, caller(method="GET", **headers))


def test_a_configured_origin_may_change_things() -> None:
    policy = policy_of(origins=("https://ops.example.com",))
    headers = {"origin": "https://ops.example.com", "sec_fetch_site": "cross-site"}
    assert is_let_in(policy, caller(method="POST", **headers))
    headers["origin"] = "https://evil.example"
    assert not is_let_in(policy, caller(method="POST", **headers))
    assert not is_let_in(policy_of(origins=("*",)), caller(method="POST", **headers))


@pytest.mark.parametrize(
    "headers, let_in",
    [
        ({}, False),
        ({"x_api_key": "first-key"}, True),
        ({"x_api_key": "zweiter-schlüssel".encode().decode("latin-1")}, True),
        ({"authorization": "Bearer first-key"}, True),
        ({"authorization": "bearer  first-key "}, True),
        ({"authorization": "Basic first-key"}, False),
        ({"authorization": "first-key"}, False),
        ({"authorization": "Bearer"}, False),
        ({"authorization": "Bearer first-key2"}, False),
        ({"x_api_key": "first-ke"}, False),
        ({"x_api_key": ""}, False),
        ({"x_api_key": "first-key,zweiter"}, False),
        ({"x_api_key": "ÿþ"}, False),
        ({"x_api_key": "wrong", "authorization": "Bearer first-key"}, True),
        ({"x_api_key": "first-key", "authorization": "Bearer wrong"}, True),
        ({"x_api_key": "", "authorization": "Bearer first-key"}, True),
        ({"x_api_key": "wrong", "authorization": "Bearer wrong"}, False),
        ({"x_api_key": "wrong", "authorization": "Basic first-key"}, False),
    ],
)
def test_with_keys_only_a_key_lets_in(headers: dict[str, str], let_in: bool) -> None:
    for host, method in itertools.product(["127.0.0.1", "203.0.113.9", None], ["GET", "POST"]):
        assert is_let_in(KEYED, caller(host, method, **headers)) is let_in


def test_of_several_keys_in_one_header_any_right_one_lets_in() -> None:
    for name, wrong, right in (
        (b"x-api-key", b"wrong", b"first-key"),
        (b"authorization", b"Bearer wrong", b"Bearer first-key"),
    ):
        for values in ((wrong, right), (right, wrong)):
            headers = Headers(raw=[(name, value) for value in values])
            assert is_let_in(KEYED, Caller(None, "GET", headers))
        assert not is_let_in(KEYED, Caller(None, "GET", Headers(raw=[(name, wrong)] * 2)))


def test_how_long_a_key_is_compared_tells_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of one length, each with each, never ended early by one that fits."""
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare_digest(one, other)

    compare_digest = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    for key in ("first-key", "zweiter-schlüssel", "first-ke", "x", "x" * 10_000):
        compared.clear()
        is_let_in(KEYED, caller(x_api_key=key.encode().decode("latin-1")))
        assert len(compared) == 2
        assert {len(digest) for pair in compared for digest in pair} == {32}


def test_with_keys_a_proxy_and_any_host_name_are_no_obstacle() -> None:
    asking = caller("203.0.113.9", "POST", x_api_key="first-key", x_forwarded_for="1.2.3.4")
    assert is_let_in(KEYED, asking)


@pytest.mark.parametrize("name", [None, "", "localhost.evil", "1", "0x7f.1", "127.1"])
def test_only_plain_addresses_are_loopback(name: str | None) -> None:
    assert not is_loopback(name)


# Through the service


# Written out for each role in test_roles.py.
ROUTES = [(method, filled(path)) for (method, path), needed in MATRIX.items() if needed != OPEN]


def test_every_route_but_ping_needs_the_key(start_service: Starter) -> None:
    service = start_service(api_keys=("one", "two"))
    for method, path in ROUTES:
        answer = service.api.request(method, path)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"].startswith("Bearer")
        if method != "HEAD":
            assert set(answer.json()) == {"error", "detail", "hint"}
            assert answer.json()["error"] == "Unauthorized"
            assert answer.json()["hint"] == (
                "Send one of API_KEYS as 'Authorization: Bearer <key>' or 'X-API-Key'."
            )
    for path in ("/ping?x=1", "/ping"):
        assert service.api.get(path).status_code == 200
    for path in ("/ping/", "//ping", "/PING", "/ping/../sync/stats"):
        assert service.get_raw(path)[0] == 401, path
    for key in ("one", "two"):
        headers = {"Authorization": f"Bearer {key}"}
        assert service.api.get("/sync/stats", headers=headers).status_code == 200


def test_every_route_but_ping_refuses_a_forwarded_request(service: Service) -> None:
    for method, path in ROUTES:
        answer = service.api.request(method, path, headers={"X-Forwarded-For": "127.0.0.1"})
        assert answer.status_code == 401, path
    headers = {"X-Forwarded-For": "127.0.0.1"}
    assert service.api.get("/ping", headers=headers).status_code == 200
    assert service.api.get("/sync/stats").status_code == 200


def test_dns_rebinding_and_cross_site_posts_are_refused(service: Service) -> None:
    assert service.api.get("/sync/files", headers={"Host": "evil.example"}).status_code == 401
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert service.api.post("/sync/trigger", headers=headers).status_code == 401
    assert service.get("/sync/runs")["runs"] == []


def _ask(app: Any, client: Any, **headers: str) -> int:
    """The status that a client at this address gets, asked without a socket."""

    async def ask() -> int:
        transport = httpx.ASGITransport(app, client=client)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as asking:
            return (await asking.get("/sync/stats", headers=headers)).status_code

    return anyio.run(ask)


def test_a_remote_client_and_one_on_a_socket_are_refused(service: Service) -> None:
    for client in (("203.0.113.9", 1), None):
        assert _ask(service.app, client) == 401
    assert _ask(service.app, ("127.0.0.1", 1)) == 200


def test_proxy_headers_of_uvicorn_cannot_make_anyone_local(service: Service) -> None:
    believing = ProxyHeadersMiddleware(service.app, trusted_hosts="*")  # type: ignore[arg-type]
    headers = {"X-Forwarded-For": "127.0.0.1"}
    assert _ask(believing, ("203.0.113.9", 1), **headers) == 401


def test_nobody_is_let_in_before_the_start() -> None:
    assert _ask(create_app(), ("127.0.0.1", 1)) == 503


def test_cors_is_closed_by_default(service: Service) -> None:
    headers = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "GET"}
    answer = service.api.options("/sync/stats", headers=headers)
    assert not any(name.startswith("access-control") for name in answer.headers)
    answer = service.api.get("/sync/stats", headers={"Origin": "http://localhost:3000"})
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_cors_is_open_to_configured_origins_only(start_service: Starter) -> None:
    service = start_service(cors_origins=("https://ops.example.com",), api_keys=("key-one",))
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "X-API-Key"}
    answer = service.api.options(
        "/sync/stats", headers={"Origin": "https://ops.example.com", **asked}
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://ops.example.com"
    assert "access-control-allow-credentials" not in answer.headers
    answer = service.api.options("/sync/stats", headers={"Origin": "https://evil.example", **asked})
    assert "access-control-allow-origin" not in answer.headers
    answer = service.api.get(
        "/sync/stats", headers={"Origin": "https://ops.example.com", "X-API-Key": "key-one"}
    )
    assert answer.headers["access-control-allow-origin"] == "https://ops.example.com"
    refused = service.api.get("/sync/stats", headers={"Origin": "https://ops.example.com"})
    assert refused.status_code == 401
