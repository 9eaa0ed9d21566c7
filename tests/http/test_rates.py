"""How often one client may ask: whom it counts, what it limits, and what it never does."""

import json
import time
from typing import Any

import anyio
import httpx
import pytest
from limits.storage import MemoryStorage

from datasync.api import rates
from datasync.api.rates import GUESSES, LISTINGS, RUNS, WAITS, Rates, address_of, client_of
from datasync.api.senders import SIGNATURE, SNS_TYPE, TIMESTAMP, signature_of
from datasync.errors import TooManyRequests
from tests.http.test_notification import URL, record, records
from tests.support.fake_bucket import FakeBucket
from tests.support.service import Service, Starter
from tests.support.world import eventually

HERE = "127.0.0.1"


class Clock:
    """The time that limits are counted by."""

    def __init__(self) -> None:
        self.now = 1_800_000_007.0  # inside of a minute

    def time(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("limits.storage.memory.time", made)
    monkeypatch.setattr("limits.strategies.time", made)
    monkeypatch.setattr("limits.storage.base.time", made, raising=False)
    monkeypatch.setattr(rates, "time", made)
    return made


def use_up(service: Service, limit: Any, client: str = HERE) -> None:
    while service.app.state.rates.allow(limit, client):
        pass


def assert_too_many(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.json()["error"]) == (429, "TooManyRequests")
    assert set(answer.json()) == {"error", "detail", "hint"}
    assert 1 <= int(answer.headers["retry-after"]) <= 61


# The count


def test_a_client_gets_its_number_and_after_retry_after_more(clock: Clock) -> None:
    counted = Rates()
    for _ in range(RUNS.amount):
        counted.spend(RUNS, "one")
    with pytest.raises(TooManyRequests) as refused:
        counted.spend(RUNS, "one")
    counted.spend(RUNS, "other")
    counted.spend(LISTINGS, "one")
    clock.now += refused.value.retry_after_seconds + 0.01
    counted.spend(RUNS, "one")


def test_no_window_lets_twice_the_number_through(clock: Clock) -> None:
    counted, let_through = Rates(), 0
    clock.now = 1_800_000_000.0
    counted.allow(RUNS, "one")
    for now in (1_800_000_059.5, 1_800_000_060.5):
        clock.now = now
        while counted.allow(RUNS, "one"):
            let_through += 1
    assert let_through < 1.1 * RUNS.amount


def test_clients_that_are_gone_are_forgotten(clock: Clock) -> None:
    counted = Rates()
    storage = counted._limiter.storage
    assert isinstance(storage, MemoryStorage)
    for number in range(500):
        counted.allow(GUESSES, f"10.0.0.{number}")
    assert len(storage.storage) == 500
    clock.now += 200
    counted.allow(GUESSES, "late")
    eventually(lambda: len(storage.storage) + len(storage.locks) <= 4)


@pytest.mark.parametrize(
    "host, name",
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_a_client_is_its_address_of_ipv6_its_network(host: str, name: str) -> None:
    scope = {"client": (host, 1)}
    assert address_of(scope) == client_of(scope) == name
    assert address_of({"client": None}) == "local"


def test_clients_at_one_address_are_told_apart_by_their_keys() -> None:
    names = set()
    for key in (None, b"one", b"two"):
        scope: dict[str, Any] = {"client": ("10.0.0.1", 1)}
        rates.know_client(scope, key)
        names.add(client_of(scope))
    assert len(names) == 3


# The routes


@pytest.mark.parametrize(
    "method, path, limit",
    [
        ("POST", "/sync/trigger", RUNS),
        ("POST", "/sync/trigger?dry_run=true", RUNS),
        ("POST", "/sync/failures/retry", RUNS),
        ("GET", "/sync/files?source=s3", LISTINGS),
    ],
)
def test_what_is_expensive_is_limited(
    service: Service, clock: Clock, method: str, path: str, limit: Any
) -> None:
    use_up(service, limit)
    answer = service.api.request(method, path)
    assert_too_many(answer)
    clock.now += int(answer.headers["retry-after"])
    assert service.api.request(method, path).status_code < 300


def test_a_refused_trigger_starts_nothing(service: Service) -> None:
    use_up(service, RUNS)
    assert_too_many(service.api.post("/sync/trigger"))
    assert service.get("/sync/runs")["runs"] == []


def test_all_else_is_not(service: Service) -> None:
    for limit in (RUNS, LISTINGS, WAITS, GUESSES):
        use_up(service, limit)
    for path in ("/sync/files", "/sync/health", "/sync/runs", "/metrics", "/ping"):
        assert service.api.get(path).status_code == 200


def test_an_event_is_taken_however_many_came_before(service: Service) -> None:
    for limit in (RUNS, LISTINGS, WAITS, GUESSES):
        use_up(service, limit)
    service.bucket.put("a", b"a")
    service.post(URL, 202, json=records(record("a")))
    answer = service.post(URL, 202, json=records(record("a")), params={"wait": "20"})
    assert answer["status"] == "accepted"
    eventually((service.root / "a").exists)


def test_no_more_than_there_are_places_wait_for_outcomes(start_service: Starter) -> None:
    service = start_service(FakeBucket())
    with service.app.state.lanes.waits.place():
        service.app.state.lanes.waits._left = 0
        began = time.monotonic()
        service.post(URL, 202, json=records(record("a")), params={"wait": "300"})
        answer = service.post("/sync/trigger", 202)
        assert answer["status"] == "accepted"
        assert time.monotonic() - began < 10


def test_no_more_than_there_are_places_wait_for_a_plan(service: Service) -> None:
    service.app.state.lanes.planned._left = 0
    assert_too_many(service.api.post("/sync/trigger?dry_run=true"))


# Guesses


def test_guessing_keys_is_limited_and_locks_nobody_out(start_service: Starter) -> None:
    service = start_service(api_keys=("the-right-key",))
    right = {"X-API-Key": "the-right-key"}
    statuses = [
        service.api.get("/sync/stats", headers={"X-API-Key": f"guess-{n}"}).status_code
        for n in range(GUESSES.amount + 1)
    ]
    assert statuses == [401] * GUESSES.amount + [429]
    assert_too_many(service.api.get("/sync/stats", headers={"Authorization": "Bearer guess"}))
    assert service.api.get("/sync/stats", headers=right).status_code == 200
    assert service.api.get("/sync/stats").status_code == 401  # no key is no guess
    assert _from("203.0.113.9", service) == 401


def _from(host: str, service: Service) -> int:
    """The status of a wrong key from another address."""

    async def ask() -> int:
        transport = httpx.ASGITransport(service.app, client=(host, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as asking:
            return (await asking.get("/sync/stats", headers={"X-API-Key": "wrong"})).status_code

    return anyio.run(ask)


def test_guessing_signatures_is_limited(start_service: Starter) -> None:
    service = start_service(api_keys=("the-right-key",), notification_secret="secret")
    headers = {TIMESTAMP: str(int(time.time())), SIGNATURE: "v1=" + "0" * 64}
    assert service.api.post(URL, content=b"{}", headers=headers).status_code == 401
    use_up(service, GUESSES)
    assert_too_many(service.api.post(URL, content=b"{}", headers=headers))
    right = {"X-API-Key": "the-right-key"}
    service.post(URL, 202, json=records(record("a")), headers=right)


def test_who_signs_rightly_guesses_nothing(start_service: Starter) -> None:
    """A forwarder that still sends a key of yesterday is known by its signature."""
    service = start_service(api_keys=("the-right-key",), notification_secret="secret")
    use_up(service, GUESSES)
    body, now = json.dumps(records(record("a"))).encode(), str(int(time.time()))
    headers = {
        "X-API-Key": "yesterdays-key",
        "Content-Type": "application/json",
        TIMESTAMP: now,
        SIGNATURE: signature_of(b"secret", now, body),
    }
    assert service.api.post(URL, content=body, headers=headers).status_code == 202


@pytest.mark.parametrize("proof", [SIGNATURE, SNS_TYPE])
def test_a_proof_that_is_none_hides_no_guess(start_service: Starter, proof: str) -> None:
    service = start_service(api_keys=("the-right-key",), notification_secret="secret")
    headers = {"X-API-Key": "guess", "Content-Type": "application/json", proof: "Notification"}
    statuses = [
        service.api.post(URL, content=b"{}", headers=headers).status_code
        for _ in range(GUESSES.amount + 1)
    ]
    assert statuses == [401] * GUESSES.amount + [429]


def test_strangers_take_their_own_places_only(start_service: Starter) -> None:
    service = start_service(api_keys=("the-right-key",), notification_secret="secret")
    service.app.state.desk.unproved._left = 0
    headers = {TIMESTAMP: "1", SIGNATURE: "v1="}
    refused = service.api.post(URL, content=b"{}", headers=headers)
    assert (refused.status_code, refused.json()["error"]) == (503, "JournalFull")
    service.post(URL, 202, json=records(record("a")), headers={"X-API-Key": "the-right-key"})


def test_a_forwarding_header_makes_nobody_another_client(start_service: Starter) -> None:
    service = start_service(api_keys=("the-right-key",))
    use_up(service, GUESSES)
    for address in ("203.0.113.9", "198.51.100.7"):
        headers = {"X-API-Key": "guess", "X-Forwarded-For": address, "Forwarded": f"for={address}"}
        assert_too_many(service.api.get("/sync/stats", headers=headers))
