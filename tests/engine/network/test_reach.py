"""The way to the server: no connection, no name, no trust, no time; other hosts and other keys."""

import ssl
import threading
import time
from pathlib import Path

import pytest

from datasync.models.sync_models import RunStatus
from tests.engine.network.faults import HTML
from tests.support.network import ATTEMPTS, NetworkWorld
from tests.support.s3_front import TRULY, Spoilt, cut, end
from tests.support.rotation import guarded, outdated_chain
from tests.support.scripted_server import Peer, ScriptedServer, Seen, answer, refuse
from tests.support.world import eventually

PEM = Path(__file__).parents[2] / "support" / "loopback.pem"
OLD, NEW = b"old", b"new"


@pytest.fixture
def held(net: NetworkWorld) -> NetworkWorld:
    """One key is held, and has changed."""
    net.bucket.put("a", OLD)
    assert net.sync().status is RunStatus.SUCCESS
    net.bucket.put("a", NEW)
    return net


def assert_cannot_list(net: NetworkWorld, text: str, hint: str) -> None:
    run = net.sync()
    assert run.status is RunStatus.FAILED
    assert text in (run.error or "") and hint in (run.hint or "")
    assert net.tree() == {"a": OLD}
    net.assert_nothing_staged()


# No way at all


def test_a_server_that_is_not_there(held: NetworkWorld) -> None:
    held.front.close()
    assert_cannot_list(held, "listing 'bucket'", "Check the network")
    held.reopen()
    held.recovers()


def test_a_server_that_goes_between_the_listing_and_the_objects(held: NetworkWorld) -> None:
    def list_and_go(peer: Peer, seen: Seen) -> bool:
        held.front.server.stop_listening()
        held.front.truly(peer, seen)
        return False

    held.front.script_list(list_and_go)

    run = held.sync()

    assert run.status is RunStatus.PARTIAL
    assert [(told.key, told.error) for told in held.failed(run)] == [("a", "NetworkFailure")]
    assert "Check the network" in (held.failure("a").hint or "")
    assert held.tree() == {"a": OLD}
    held.reopen()
    held.recovers()


def test_a_name_that_nobody_resolves(held: NetworkWorld) -> None:
    held.endpoint = f"http://{'x' * 64}.invalid"  # no name at all, so no resolver is waited for
    held.reopen()
    assert_cannot_list(held, "resolve host", "Check the network")
    held.endpoint = None
    held.reopen()
    held.recovers()


def test_an_authority_that_nobody_trusts(
    held: NetworkWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def secure() -> ScriptedServer:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(PEM)
        return ScriptedServer(context)

    monkeypatch.setattr(held, "server", secure)
    held.reopen()
    assert_cannot_list(held, "certificate is not trusted", "AWS_CA_BUNDLE")
    assert held.front.server.requests == []
    held.ca_bundle = str(PEM)
    held.reopen()
    held.recovers()


def test_a_server_with_an_ipv6_address(held: NetworkWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "server", lambda: ScriptedServer(host="::1"))
    held.reopen()
    held.recovers()
    hosts = {seen.headers["host"] for seen in held.front.server.requests}
    assert hosts == {held.front.url.removeprefix("http://")} and "[::1]" in held.front.url


# The wrong server


@pytest.mark.parametrize("status", ["301 Moved Permanently", "307 Temporary Redirect"])
def test_no_redirect_leads_to_another_host(held: NetworkWorld, status: str) -> None:
    with ScriptedServer() as elsewhere:
        elsewhere.script(answer("200 OK", b"not ours"))
        away = refuse(status, "PermanentRedirect", Location=f"{elsewhere.url}/bucket/a")
        held.front.script("a", away)
        assert held.sync().status is RunStatus.PARTIAL
        held.front.script_list(away)
        assert_cannot_list(held, "PermanentRedirect", "AWS_REGION")
        assert elsewhere.connections == 0
    held.recovers()


def test_a_proxy_that_answers_everything_with_html(held: NetworkWorld) -> None:
    page = answer("200 OK", HTML, Content_Type="text/html", ETag='"5f3-x"')
    held.front.script("a", page)
    held.front.script_list(page)
    assert_cannot_list(held, "listing", "proxy")
    held.recovers()


# Keys and clocks


def test_credentials_that_expire_during_a_run_are_rotated(net: NetworkWorld) -> None:
    expired = refuse("400 Bad Request", "ExpiredToken")
    net.credentials, sets = outdated_chain()
    net.reopen()
    for number in range(20):
        net.bucket.put(f"{number}", NEW)
        net.front.script(f"{number}", guarded(net.front.truly, expired))

    net.gets_equal()

    most = max(len(net.front.asked(f"{number}")) for number in range(20))
    assert most == ATTEMPTS and sets == []


def test_a_clock_that_is_wrong_is_learned_from_the_server(
    held: NetworkWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held.s3._client, "_clock", lambda: 0.0)

    def punctual(peer: Peer, seen: Seen) -> bool:
        skewed = refuse("403 Forbidden", "RequestTimeTooSkewed")
        right = seen.headers["x-amz-date"].startswith("2026")
        return (held.front.truly if right else skewed)(peer, seen)

    held.front.script("a", punctual)
    held.front.script_list(punctual)

    held.gets_equal()

    assert (held.front.pages(), len(held.front.asked("a"))) == (3, 2)


# Connections that go, and servers that say nothing


def test_a_server_may_close_kept_connections_at_any_time(net: NetworkWorld) -> None:
    """Every answer is whole, and no connection serves a second request: that costs no try."""
    net.reopen(attempts=1, concurrency=2)
    for number in range(100):
        net.bucket.put(f"{number}", NEW)
        net.front.script(f"{number}", Spoilt(cut(end, at=len(NEW))))
    net.gets_equal()


def test_another_try_is_made_over_a_new_connection(net: NetworkWorld) -> None:
    """The kept ones may be dead as well: a server that restarts closes them all."""
    net.reopen(concurrency=1)
    opened = []
    plain, busy = [TRULY], [answer("503 Busy"), TRULY]
    for body, replies in ((b"1", plain), (b"2", plain), (b"3", busy)):
        for key in ("a", "b", "c"):
            net.bucket.put(key, body)
        net.front.script("b", *replies)
        before = net.front.server.connections
        net.gets_equal()
        opened.append(net.front.server.connections - before)
    assert opened[2] == opened[1] + 1  # the first round has to open one for listings as well


@pytest.mark.parametrize("silent", ["an object", "a range", "a listing", "a delete"])
def test_a_server_that_says_nothing_does_not_keep_the_service_from_stopping(
    net: NetworkWorld, silent: str
) -> None:
    asked = threading.Event()

    def hold(peer: Peer, seen: Seen) -> bool:
        asked.set()
        return peer.hold()

    net.bucket.put("a", OLD)
    net.bucket.put("b", OLD)
    assert net.sync().status is RunStatus.SUCCESS
    if silent == "a delete":
        net.bucket.delete("a")
    else:
        net.bucket.put("a", bytes(20 * 2**20) if silent == "a range" else NEW)
    if silent == "a listing":
        net.front.script_list(hold)
    else:
        net.front.script("a", net.front.in_ranges(hold) if silent == "a range" else hold)
    net.service.start()
    run, _ = net.service.request_run()
    assert asked.wait(10)
    began = time.monotonic()

    net.service.stop(10)

    assert time.monotonic() - began < 5
    assert net.status(run.id) is RunStatus.INTERRUPTED
    assert net.tree() == {"a": OLD, "b": OLD}
    net.assert_nothing_staged()
    net.reopen()
    net.recovers()


def test_keys_of_a_silent_server_do_not_stop_events(net: NetworkWorld) -> None:
    """Half of the bucket hangs; an event for the other half comes through."""
    for number in range(20):
        net.bucket.put(f"{number}", OLD)
        net.front.script(f"{number}", lambda peer, seen: peer.hold())
    net.service.start()
    net.service.request_run()
    eventually(lambda: any(net.front.asked(f"{number}") for number in range(20)))
    net.bucket.put("urgent", NEW)
    net.service.mark([("urgent", "event")])
    eventually(lambda: net.tree() == {"urgent": NEW})
