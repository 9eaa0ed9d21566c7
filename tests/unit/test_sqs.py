"""The adapter of SQS against a server that answers as told: addresses, credentials, errors."""

import json
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from datasync.errors import (
    Interrupted,
    QueueCredentialsRejected,
    QueueDenied,
    QueueError,
    QueueMissing,
    QueueSlowDown,
    QueueUnreachable,
)
from datasync.services.events import sqs
from datasync.services.events.sqs import Message, SqsConfig, SqsQueue, endpoint_of, region_of
from tests.support.scripted_server import Peer, Reply, ScriptedServer, Seen, answer, raw
from tests.support.servers import free_ports

PEM = Path(__file__).parent.parent / "support" / "loopback.pem"
JSON = "application/x-amz-json-1.0"
PATH = "/123456789012/datasync"
AWS = "https://sqs.eu-central-1.amazonaws.com/123456789012/datasync"
MESSAGES = [Message(f"m{number}", f"r{number}", "body") for number in range(12)]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment without any credentials, no role server to ask and no proxy."""
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")
    proxies = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    for name in (*keys, *proxies, "AWS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return monkeypatch


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as made:
        yield made


def queue_at(url: str, **changes: Any) -> SqsQueue:
    given = {"access_key": "KEYOFTHETEST", "secret_key": "hush-hush", **changes}
    return SqsQueue(SqsConfig(f"{url}{PATH}", "us-east-1", **given))


def say(document: object, status: str = "200 OK", **fields: str) -> Reply:
    return answer(status, json.dumps(document).encode(), Content_Type=JSON, **fields)


def refuse(status: str, code: str, message: str = "No.", query_error: str = "") -> Reply:
    """A refusal as SQS makes it."""
    fields = {"x_amzn_query_error": f"{query_error};Sender"} if query_error else {}
    document = {"__type": f"com.amazonaws.sqs#{code}", "message": message}
    return say(document, status, **fields)


class TestAddresses:
    @pytest.mark.parametrize(
        ("url", "region", "endpoint"),
        [
            (AWS, "eu-central-1", None),
            ("https://sqs.us-gov-west-1.amazonaws.com/1/q", "us-gov-west-1", None),
            ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", "cn-north-1", None),
            ("https://ap-southeast-2.queue.amazonaws.com/1/q", "ap-southeast-2", None),
            ("https://queue.amazonaws.com/1/q", "us-east-1", None),
            (
                "https://vpce-0a-1b.sqs.eu-west-3.vpce.amazonaws.com/1/q",
                "eu-west-3",
                "https://vpce-0a-1b.sqs.eu-west-3.vpce.amazonaws.com",
            ),
            (
                "https://sqs-fips.us-east-2.amazonaws.com/1/q",
                "us-east-2",
                "https://sqs-fips.us-east-2.amazonaws.com",
            ),
            ("https://sqs.eu-west-1.api.aws/1/q", "eu-west-1", "https://sqs.eu-west-1.api.aws"),
            (
                "http://sqs.us-east-1.localhost.example:4566/000000000000/q",
                "us-east-1",
                "http://sqs.us-east-1.localhost.example:4566",
            ),
            ("http://127.0.0.1:9324/000000000000/q", None, "http://127.0.0.1:9324"),
            ("https://sqs.example.com/1/q", None, "https://sqs.example.com"),
        ],
    )
    def test_a_queue_is_where_its_url_says(
        self, url: str, region: str | None, endpoint: str | None
    ) -> None:
        assert (region_of(url), endpoint_of(url)) == (region, endpoint)

    def test_a_given_endpoint_wins_and_the_urls_region_signs(self, server: ScriptedServer) -> None:
        server.script(say({}))
        config = SqsConfig(AWS, "us-east-1", server.url, access_key="KEY", secret_key="hush")
        queue = SqsQueue(config)

        assert queue.receive(10, 0, 30) == []
        queue.close()

        (seen,) = server.requests
        assert "/eu-central-1/sqs/aws4_request" in seen.headers["authorization"]
        assert json.loads(seen.body) == {
            "QueueUrl": AWS,
            "MaxNumberOfMessages": 10,
            "WaitTimeSeconds": 0,
            "VisibilityTimeout": 30,
        }

    def test_the_given_region_signs_where_the_url_has_none(self, server: ScriptedServer) -> None:
        server.script(say({}))
        queue = queue_at(server.url)
        queue.receive(1, 0, 30)
        queue.close()

        assert "/us-east-1/sqs/aws4_request" in server.requests[0].headers["authorization"]

    def test_making_one_connects_to_nothing(self, server: ScriptedServer) -> None:
        queue_at(server.url).close()

        assert server.connections == 0

    def test_what_is_secret_is_not_shown(self) -> None:
        config = SqsConfig(AWS, "us-east-1", None, "KEYOFTHETEST", "hush-hush", "hush-token")

        assert "hush" not in repr(config) and "KEYOF" not in repr(config)


class TestMessages:
    def test_what_a_server_says_too_little_of(self, server: ScriptedServer) -> None:
        whole = {"MessageId": "m", "ReceiptHandle": "r", "Body": "b", "Attributes": {}}
        server.script(say({"Messages": [whole, {"ReceiptHandle": "r2"}]}))
        queue = queue_at(server.url)

        assert queue.receive(10, 0, 30) == [
            Message("m", "r", "b"),
            Message("", "r2", ""),
        ]
        queue.close()

    def test_batches_are_of_ten_and_what_failed_is_given_back(self, server: ScriptedServer) -> None:
        failed = {"Id": "1", "Code": "InternalError", "SenderFault": False, "Message": "x"}
        server.script(say({"Successful": [], "Failed": [failed]}))
        queue = queue_at(server.url)

        assert queue.delete(MESSAGES) == [MESSAGES[1], MESSAGES[11]]
        assert queue.extend(MESSAGES, 120) == [MESSAGES[1], MESSAGES[11]]
        queue.close()

        sent = [json.loads(seen.body)["Entries"] for seen in server.requests]
        assert [len(entries) for entries in sent] == [10, 2, 10, 2]
        assert sent[1][1] == {"Id": "1", "ReceiptHandle": "r11"}
        assert sent[3][1] == {"Id": "1", "ReceiptHandle": "r11", "VisibilityTimeout": 120}


REFUSALS = [
    ("400 Bad Request", "QueueDoesNotExist", QueueMissing),
    ("404 Not Found", "InvalidAddress", QueueMissing),
    ("403 Forbidden", "AccessDenied", QueueDenied),
    ("400 Bad Request", "KmsAccessDenied", QueueDenied),
    ("403 Forbidden", "", QueueDenied),
    ("403 Forbidden", "InvalidClientTokenId", QueueCredentialsRejected),
    ("403 Forbidden", "SignatureDoesNotMatch", QueueCredentialsRejected),
    ("403 Forbidden", "ExpiredToken", QueueCredentialsRejected),
    ("400 Bad Request", "UnrecognizedClientException", QueueCredentialsRejected),
    ("403 Forbidden", "InvalidSecurity", QueueCredentialsRejected),
    ("400 Bad Request", "OverLimit", QueueSlowDown),
    ("429 Too Many Requests", "", QueueSlowDown),
    ("400 Bad Request", "RequestThrottled", QueueSlowDown),
    ("500 Internal Server Error", "InternalError", QueueUnreachable),
    ("503 Service Unavailable", "", QueueUnreachable),
    ("400 Bad Request", "InvalidParameterValue", QueueError),
]


class TestErrors:
    @pytest.mark.parametrize(("status", "code", "kind"), REFUSALS)
    def test_a_refusal_says_why(
        self, server: ScriptedServer, status: str, code: str, kind: type[QueueError]
    ) -> None:
        server.script(refuse(status, code))
        queue = queue_at(server.url)

        with pytest.raises(QueueError) as caught:
            queue.receive(1, 0, 30)
        queue.close()

        assert type(caught.value) is kind
        assert status[:3] in str(caught.value) and "'datasync'" in str(caught.value)
        assert code in str(caught.value) and "hush" not in str(caught.value)
        assert caught.value.retryable == (kind in (QueueSlowDown, QueueUnreachable))

    def test_the_names_of_the_older_protocol_are_known(self, server: ScriptedServer) -> None:
        old = "AWS.SimpleQueueService.NonExistentQueue"
        server.script(refuse("400 Bad Request", "QueueDoesNotExist", query_error=old))
        queue = queue_at(server.url)

        with pytest.raises(QueueMissing):
            queue.receive(1, 0, 30)
        queue.close()

    def test_the_hint_names_the_permission(self, server: ScriptedServer) -> None:
        server.script(refuse("403 Forbidden", "AccessDenied", "User x is not authorized"))
        queue = queue_at(server.url)
        calls: dict[str, Callable[[], object]] = {
            "sqs:ReceiveMessage": lambda: queue.receive(1, 0, 30),
            "sqs:DeleteMessage": lambda: queue.delete(MESSAGES),
            "sqs:ChangeMessageVisibility": lambda: queue.extend(MESSAGES, 0),
        }
        for permission, call in calls.items():
            with pytest.raises(QueueDenied, match="User x is not authorized") as caught:
                call()
            assert permission in caught.value.hint
        queue.close()

    def test_a_key_that_may_not_be_used(self, server: ScriptedServer) -> None:
        server.script(refuse("400 Bad Request", "KmsAccessDenied"))
        queue = queue_at(server.url)

        with pytest.raises(QueueDenied) as caught:
            queue.receive(1, 0, 30)
        queue.close()
        assert "kms:Decrypt" in caught.value.hint

    def test_what_was_signed_is_not_repeated(self, server: ScriptedServer) -> None:
        text = "The Canonical String should have been hush-hush"
        server.script(refuse("403 Forbidden", "SignatureDoesNotMatch", text))
        queue = queue_at(server.url)

        with pytest.raises(QueueCredentialsRejected) as caught:
            queue.receive(1, 0, 30)
        queue.close()
        assert "hush" not in str(caught.value)

    def test_nobody_listens(self) -> None:
        queue = queue_at(f"http://127.0.0.1:{free_ports(1)[0]}")

        with pytest.raises(QueueUnreachable, match="EndpointConnectionError"):
            queue.receive(1, 0, 30)
        queue.close()

    def test_a_certificate_is_trusted_when_its_authority_is_named(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(PEM)
        with ScriptedServer(context) as server:
            server.script(say({}))
            stranger, known = queue_at(server.url), queue_at(server.url, ca_bundle=str(PEM))

            with pytest.raises(QueueUnreachable, match="not trusted") as caught:
                stranger.receive(1, 0, 30)
            assert known.receive(1, 0, 30) == []
            stranger.close()
            known.close()
        assert "AWS_CA_BUNDLE" in caught.value.hint

    def test_no_such_host(self) -> None:
        queue = queue_at("http://no-such-host.invalid")

        with pytest.raises(QueueUnreachable):
            queue.receive(1, 0, 30)
        queue.close()

    def test_the_answer_does_not_come(
        self, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqs, "ANSWER_SECONDS", 0.2)
        server.script(_hang)
        queue = queue_at(server.url)
        began = time.monotonic()

        with pytest.raises(QueueUnreachable, match="ReadTimeoutError"):
            queue.receive(1, 0, 30)
        queue.close()
        assert time.monotonic() - began < 5 and len(server.requests) == 2

    def test_the_answer_is_cut_short(self, server: ScriptedServer) -> None:
        server.script(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"))
        queue = queue_at(server.url)

        with pytest.raises(QueueUnreachable):
            queue.receive(1, 0, 30)
        queue.close()

    @pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"{", b"\xff", b"[]", b'"x"'])
    def test_the_answer_is_none_of_sqs(self, server: ScriptedServer, body: bytes) -> None:
        server.script(answer("200 OK", body, Content_Type="text/html"))
        queue = queue_at(server.url)

        with pytest.raises(QueueError, match="none of SQS"):
            queue.receive(1, 0, 30)
        queue.close()

    def test_a_connection_that_was_closed_meanwhile_is_no_error(
        self, server: ScriptedServer
    ) -> None:
        server.script(say({}), _reset, say({}))
        queue = queue_at(server.url)

        assert queue.receive(1, 0, 30) == []
        assert queue.receive(1, 0, 30) == []
        queue.close()


def test_a_close_waits_for_no_chain_of_credentials() -> None:
    queue = queue_at("http://127.0.0.1:1")
    with queue._lock:  # held while the chain is asked, which may hang
        began = time.monotonic()
        queue.close()
        assert time.monotonic() - began < 10
    with pytest.raises(Interrupted):
        queue.receive(1, 0, 30)


class TestCredentials:
    def test_none_at_all(self, server: ScriptedServer) -> None:
        queue = queue_at(server.url, access_key=None, secret_key=None)

        with pytest.raises(QueueCredentialsRejected, match="NoCredentialsError") as caught:
            queue.receive(1, 0, 30)
        queue.close()
        assert "AWS_ACCESS_KEY_ID" in caught.value.hint and server.connections == 0

    def test_a_profile_that_does_not_exist(self, server: ScriptedServer) -> None:
        queue = queue_at(server.url, access_key=None, secret_key=None, profile="nobody")

        with pytest.raises(QueueCredentialsRejected, match="ProfileNotFound"):
            queue.receive(1, 0, 30)
        queue.close()

    def test_a_token_is_sent(self, server: ScriptedServer) -> None:
        server.script(say({}))
        queue = queue_at(server.url, token="hush-token")
        queue.receive(1, 0, 30)
        queue.close()

        assert server.requests[0].headers["x-amz-security-token"] == "hush-token"

    def test_refused_ones_are_looked_up_anew(
        self, server: ScriptedServer, bare: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """The operator repairs the profile; nobody restarts the service."""
        server.script(_open_to("RIGHTKEY"))
        _write_profile(tmp_path, "WRONGKEY")
        queue = queue_at(server.url, access_key=None, secret_key=None, profile="team")
        for _ in range(2):
            with pytest.raises(QueueCredentialsRejected):
                queue.receive(1, 0, 30)

        _write_profile(tmp_path, "RIGHTKEY")
        assert queue.receive(1, 0, 30) == []
        queue.close()


def _write_profile(folder: Path, key: str) -> None:
    text = f"[team]\naws_access_key_id = {key}\naws_secret_access_key = hush\n"
    (folder / "credentials").write_text(text)


def _open_to(key: str) -> Reply:
    def reply(peer: Peer, seen: Seen) -> bool:
        known = f"Credential={key}/" in seen.headers["authorization"]
        refusal = refuse("403 Forbidden", "InvalidClientTokenId")
        return (say({}) if known else refusal)(peer, seen)

    return reply


def _hang(peer: Peer, seen: Seen) -> bool:
    return peer.hold()


def _reset(peer: Peer, seen: Seen) -> bool:
    return peer.reset()
