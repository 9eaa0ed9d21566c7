"""Every route of the document against every attack of the table, over a raw socket.

A route that is added later is covered by itself; so is an attack.
"""

import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasync.api.middleware import SAFE_HEADERS
from datasync.api.rates import Rates
from datasync.utils.logger import close_logging
from tests.http.test_process import SERVER, started, working
from tests.support.attacks import ATTACKS, CLOSE, HOST, MARK, Attack, Route, request
from tests.support.fake_bucket import FakeBucket
from tests.support.raw_http import Answer, answers, connect, exchange, received
from tests.support.scripted_server import Peer, ScriptedServer, Seen
from tests.support.servers import free_ports
from tests.support.service import Service, Starter
from tests.support.world import eventually

KEY = "key-that-nobody-may-see"
SECRETS = {
    "api_keys": (KEY,),
    "notification_secret": "signature-secret-that-nobody-may-see",
    "aws_access_key_id": "AKIAIOSFODNN7EXAMPLE",
    "aws_secret_access_key": "aws-secret-that-nobody-may-see",
}
NEVER_TOLD = ("nobody-may-see", "AKIAIOSFODNN7EXAMPLE", "Traceback", "site-packages", '.py"')
ACCESS = f"X-API-Key: {KEY}\r\n".encode()
NOT_IN_THE_DOCUMENT = ("/docs", "/redoc", "/docs/start.js", "/docs-assets/favicon.png", "/nowhere")
FILLED = {"{key}": "data.bin", "{run_id}": "1"}


@pytest.fixture(scope="module")
def attacked(request: pytest.FixtureRequest) -> Iterator[Service]:
    """One service for all attacks: none may leave it worse than it was."""
    folder = request.getfixturevalue("tmp_path_factory").mktemp("attacked")
    bucket = FakeBucket()
    bucket.put("data.bin", bytes(range(256)) * 40)
    service = Service(folder, bucket, **SECRETS).start()
    service.api.headers["X-API-Key"] = KEY
    service.sync()
    yield service
    service.stop()
    close_logging()


def routes(service: Service) -> list[Route]:
    paths = service.app.openapi()["paths"]
    found = [Route(name.upper(), filled(path), ACCESS) for path in paths for name in paths[path]]
    assert len(found) >= 20
    return found + [Route("GET", path, ACCESS) for path in NOT_IN_THE_DOCUMENT]


def filled(path: str) -> str:
    for name, value in FILLED.items():
        path = path.replace(name, value)
    assert "{" not in path, f"say in FILLED what stands for the parameter of {path}"
    return path


def sent_to(port: int, attack: Attack, route: Route) -> list[Answer]:
    """The answers, at least one, each of them as it has to be for this attack."""
    sent = attack.made(route)
    found = exchange(port, sent, method=sent.split(maxsplit=1)[0].decode("latin-1"))
    assert found, route
    for answer in found:
        assert answer.status < 500, (route, answer)
        assert answer.status >= 400 or not attack.refused, (route, answer)
    return found


def assert_sound(answer: Answer, *private: str) -> None:
    """No answer lacks a safe header or tells what it must not; each error has the one shape."""
    for name in SAFE_HEADERS:
        assert name.lower() in answer.headers, name
    assert MARK not in answer.headers
    told = (answer.head + answer.body).decode("utf-8", "replace")
    if answer.status >= 400 or "html" not in answer.headers.get("content-type", ""):
        assert not [word for word in NEVER_TOLD if word in told], told
    if answer.status >= 400:
        assert not [word for word in private if word in told], told
        if answer.body:
            assert set(answer.json()) == {"error", "detail", "hint"}, told
            assert answer.json()["error"] and answer.json()["detail"]


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_every_route_withstands(attacked: Service, attack: Attack) -> None:
    attacked.app.state.rates = Rates()  # each attack is to reach the routes, not their limit
    before = len(attacked.log())
    for route in routes(attacked):
        for answer in sent_to(attacked.port, attack, route):
            assert_sound(answer, str(attacked.folder))
    log = attacked.log()[before:]
    assert "unexpected error" not in log
    assert not [word for word in NEVER_TOLD if word in log]
    assert all(json.loads(line)["event"] for line in log.splitlines())


def test_a_connection_that_was_attacked_tells_nothing_to_the_next(attacked: Service) -> None:
    """What is behind a refused request is never taken for a request of its own."""
    for attack in ATTACKS:
        if b"/smuggled" in attack.made(Route("GET", "/ping")):
            [answer] = exchange(attacked.port, attack.made(Route("GET", "/ping")))
            assert answer.status == 400, attack
    assert "/smuggled" not in attacked.log()


def listing(peer: Peer, _: Seen) -> bool:
    """Whatever is asked: the bucket is there and has nothing in it."""
    inner = b"<Name>bucket</Name><IsTruncated>false</IsTruncated>"
    body = b"<ListBucketResult>" + inner + b"</ListBucketResult>"
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    return True


IN_THE_PROCESS = (
    Route("GET", "/sync/download/data.bin", ACCESS),
    Route("POST", "/sync/s3-notification", ACCESS),
)


def test_the_process_withstands_as_well(tmp_path: Path) -> None:
    with ScriptedServer() as s3:
        s3.script(listing)
        [port] = free_ports(1)
        endpoint = int(s3.url.rpartition(":")[2])
        settings = working(tmp_path, endpoint, API_PORT=port, API_KEYS=KEY, LOG_FORMAT="json")
        # What it says would fill a pipe that nobody reads.
        with started(SERVER, tmp_path, settings, port, subprocess.DEVNULL) as process:
            for attack, route in itertools.product(ATTACKS, IN_THE_PROCESS):
                for answer in sent_to(port, attack, route):
                    assert_sound(answer, str(tmp_path))
            assert process.poll() is None
        log = (tmp_path / "service.log").read_text()
    assert not [word for word in (*NEVER_TOLD, "unexpected error") if word in log]


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"anything"])
def test_a_body_behind_a_request_to_upgrade_is_read(
    start_service: Starter, protocol: bytes
) -> None:
    """Java's client asks for h2c with each request; without its body a retry would be of all."""
    service = start_service()
    route = Route("POST", "/sync/failures/retry")
    upgrade = (b"Upgrade: " + protocol, b"HTTP2-Settings: AAMAAABk")
    json_type = b"Content-Type: application/json"
    sent = request(route, json_type, *upgrade, body=b'{"keys": 7}')
    sent = sent.replace(CLOSE, b"Connection: Upgrade, HTTP2-Settings\r\n")
    chunked = request(route, json_type, *upgrade, b"Transfer-Encoding: chunked") + (
        b'4\r\n{"ke\r\n7\r\nys": 7}\r\n0\r\n\r\n'
    )
    chunked = chunked.replace(CLOSE, b"Connection: Upgrade, HTTP2-Settings, close\r\n")
    plain = request(Route("GET", "/ping"), *upgrade)
    plain = plain.replace(CLOSE, b"Connection: Upgrade\r\n")
    with connect(service.port) as connection:
        for piece in (sent[:-5], sent[-5:] + plain, chunked):
            connection.sendall(piece)
        found = list(answers(received(connection)))
    assert [answer.status for answer in found] == [422, 200, 422]
    assert [answer.json().get("detail", "")[:5] for answer in found] == ["keys:", "", "keys:"]


def test_a_tunnel_is_refused_and_closed(start_service: Starter) -> None:
    service = start_service()
    sent = b"CONNECT /ping HTTP/1.1\r\n" + HOST + b"\r\n"
    assert [answer.status for answer in exchange(service.port, sent)] == [405]


def test_hanging_up_in_the_middle_of_a_body_is_no_error_of_ours(start_service: Starter) -> None:
    service = start_service()
    for path in ("/sync/s3-notification", "/sync/failures/retry", "/sync/trigger"):
        with connect(service.port) as connection:
            connection.sendall(request(Route("POST", path), b"Content-Length: 10") + b"{")
    eventually(lambda: service.answered(499) == 3)
    assert "unexpected error" not in service.log()
