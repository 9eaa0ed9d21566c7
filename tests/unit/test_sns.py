"""Messages of SNS: only what a configured topic signed is let in, and only SNS is ever asked."""

import base64
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from datasync.errors import DataSyncError, ProofUnavailable, Unauthorized
from datasync.services.events import sns
from datasync.services.events.sns import SnsGate, https_fetch
from tests.support.sns import TOPIC, Signer
from tests.support.world import eventually

HOME = "https://sns.eu-central-1.amazonaws.com"


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer()


class Desk:
    """A gate that gets the signer's certificate; remembers every URL it asked for."""

    def __init__(self, signer: Signer, *topics: str) -> None:
        self.asked: list[str] = []
        self.answer: Callable[[str], bytes] = lambda _: signer.certificate
        self.seconds = 0.0  # that passed besides the real ones
        self.gate = SnsGate(topics or (TOPIC,), self._fetch, lambda: time.time() + self.seconds)

    def _fetch(self, url: str) -> bytes:
        self.asked.append(url)
        return self.answer(url)

    @contextmanager
    def hanging(self) -> Iterator[threading.Event]:
        """SNS does not answer until the end of the block; the event tells that it was asked."""
        answer, asked, go_on = self.answer, threading.Event(), threading.Event()

        def slow(url: str) -> bytes:
            asked.set()
            assert go_on.wait(20)
            return answer(url)

        self.answer = slow
        try:
            yield asked
        finally:
            go_on.set()

    def refuses(self, message: Any, reason: str, kind: type[DataSyncError] = Unauthorized) -> None:
        with pytest.raises(kind, match=reason) as caught:
            self.gate.admit(message)
        assert caught.value.hint


def certificate_url(number: int) -> str:
    return f"{HOME}/SimpleNotificationService-{number:x}.pem"


@pytest.fixture
def desk(signer: Signer) -> Desk:
    return Desk(signer)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("members", [{}, {"Subject": "Amazon S3 Notification"}, {"Message": "ü\n"}])
def test_a_signed_message_is_let_in(
    desk: Desk, signer: Signer, version: str, members: dict[str, str]
) -> None:
    assert desk.gate.admit(signer.sign(version, **members)) == "Notification"
    assert desk.asked == [signer.url]


def test_the_certificate_is_asked_for_once(desk: Desk, signer: Signer) -> None:
    for _ in range(3):
        desk.gate.admit(signer.sign())
    assert desk.asked == [signer.url]


def test_the_certificates_that_are_kept_have_a_bound(desk: Desk, signer: Signer) -> None:
    for number in range(sns.CERTIFICATES + 5):
        desk.gate.admit(signer.sign(SigningCertURL=certificate_url(number)))
        desk.seconds += 10
    assert len(desk.gate._certificates) == sns.CERTIFICATES


def test_forged_certificate_names_do_not_set_the_pace_at_which_sns_is_asked(
    desk: Desk, signer: Signer
) -> None:
    desk.gate.admit(signer.sign())
    desk.answer = lambda _: b"no such file"
    for number in range(3 * sns.FETCHES_A_MINUTE):
        with pytest.raises(ProofUnavailable):
            desk.gate.admit(signer.sign(SigningCertURL=certificate_url(number)))
    assert len(desk.asked) == sns.FETCHES_A_MINUTE
    desk.gate.admit(signer.sign())  # what is known already is let in all the while
    desk.seconds, desk.answer = 61, lambda _: signer.certificate
    desk.gate.admit(signer.sign(SigningCertURL=certificate_url(1)))


def test_a_known_certificate_does_not_wait_for_the_fetch_of_another(
    desk: Desk, signer: Signer
) -> None:
    desk.gate.admit(signer.sign())
    with ThreadPoolExecutor() as pool:
        with desk.hanging() as asked:
            other = pool.submit(desk.gate.admit, signer.sign(SigningCertURL=certificate_url(1)))
            assert asked.wait(10)
            known = pool.submit(desk.gate.admit, signer.sign())
            assert known.result(10) == "Notification"
            assert not other.done()
        assert other.result(10) == "Notification"


def test_few_threads_wait_for_certificates(desk: Desk, signer: Signer) -> None:
    """However many messages name one that hangs: the other threads are for other requests."""
    message = signer.sign(SigningCertURL=certificate_url(1))
    with ThreadPoolExecutor(3 * sns.WAITING) as pool, desk.hanging():
        tried = [pool.submit(desk.gate.admit, message) for _ in range(3 * sns.WAITING)]
        eventually(lambda: sum(each.done() for each in tried) == 2 * sns.WAITING)
        early = [each for each in tried if each.done()]
    assert all(isinstance(each.exception(), ProofUnavailable) for each in early)
    assert [each.result() for each in tried if each not in early] == ["Notification"] * sns.WAITING


@pytest.mark.parametrize("name", ["Message", "MessageId", "Timestamp", "Subject"])
def test_a_changed_member_spoils_the_signature(desk: Desk, signer: Signer, name: str) -> None:
    message = signer.sign(Subject="x")
    earlier = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    desk.refuses({**message, name: earlier}, "does not fit")


@pytest.mark.parametrize(
    "signature", ["", "AAAA", "no base64!", "ü", base64.b64encode(b"x").decode()]
)
def test_what_is_no_signature_is_refused(desk: Desk, signer: Signer, signature: str) -> None:
    desk.refuses({**signer.sign(), "Signature": signature}, "does not fit")


def test_the_signature_of_another_key_is_refused(desk: Desk) -> None:
    desk.refuses(Signer().sign(), "does not fit")


def test_a_topic_that_is_not_configured_is_refused_before_anything_is_asked(
    desk: Desk, signer: Signer
) -> None:
    desk.refuses(signer.sign(TopicArn=f"{TOPIC}2"), "not configured")
    assert desk.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-central-1.amazonaws.com.evil.example/SimpleNotificationService-0a.pem",
        "https://evil.example/SimpleNotificationService-0a.pem",
        "https://sns.eu-central-1.amazonaws.com@evil.example/SimpleNotificationService-0a.pem",
        "https://user@sns.eu-central-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "https://sns.eu-central-1.amazonaws.com:8443/SimpleNotificationService-0a.pem",
        f"{HOME}/SimpleNotificationService-0a.pem?x=1",
        f"{HOME}/SimpleNotificationService-0a.pem#x",
        f"{HOME}/other/SimpleNotificationService-0a.pem",
        f"{HOME}/SimpleNotificationService-0a.pem/..",
        f"{HOME}/bucket/evil.pem",
        f"{HOME}\\@evil.example/SimpleNotificationService-0a.pem",
        f"{HOME}/SimpleNotificationService-0a.pem\r\nHost: evil.example",
        "https://sns.eu-central-1.amazonaws.c\u043em/SimpleNotificationService-0a.pem",
    ],
)
def test_a_certificate_elsewhere_is_never_asked_for(desk: Desk, signer: Signer, url: str) -> None:
    desk.refuses(signer.sign(SigningCertURL=url), "not at SNS of the topic's region")
    assert desk.asked == []


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"Type": "Other"}, "unknown type"),
        ({"SignatureVersion": "3"}, "unknown version"),
        ({"Timestamp": "yesterday"}, "says no time"),
        ({"Timestamp": ""}, "says no time"),
        ({"Timestamp": "2020-01-01T00:00:00.000Z"}, "seconds ago"),
        ({"Timestamp": "2999-01-01T00:00:00.000Z"}, "seconds ago"),
    ],
)
def test_what_sns_does_not_send_is_refused(
    desk: Desk, signer: Signer, members: dict[str, str], reason: str
) -> None:
    desk.refuses({**signer.sign(), **members}, reason)


def test_a_certificate_that_has_ended_is_refused() -> None:
    old = Signer(days=-1)
    Desk(old).refuses(old.sign(), "not valid now")


def test_a_certificate_of_another_kind_is_refused() -> None:
    odd = Signer(elliptic=True)
    Desk(odd).refuses(odd.sign(), "no RSA key")


def test_what_is_no_certificate_is_asked_for_again(desk: Desk, signer: Signer) -> None:
    desk.answer = lambda _: b"<html>busy</html>"
    desk.refuses(signer.sign(), "no certificate", ProofUnavailable)
    desk.answer = lambda _: signer.certificate
    assert desk.gate.admit(signer.sign()) == "Notification"


def test_a_certificate_that_cannot_be_had_makes_sns_try_again(desk: Desk, signer: Signer) -> None:
    def fail(_: str) -> bytes:
        raise ProofUnavailable("no network")

    desk.answer = fail
    desk.refuses(signer.sign(), "no network", ProofUnavailable)
    assert ProofUnavailable.retryable


class TestSubscriptions:
    def test_a_signed_one_is_confirmed_at_sns(self, desk: Desk, signer: Signer) -> None:
        message = signer.confirmation()
        assert desk.gate.admit(message) == "SubscriptionConfirmation"
        assert desk.asked == [signer.url, message["SubscribeURL"]]

    @pytest.mark.parametrize(
        "url",
        [
            "",
            f"http://169.254.169.254/?Action=ConfirmSubscription&TopicArn={TOPIC}",
            f"https://evil.example/?Action=ConfirmSubscription&TopicArn={TOPIC}",
            f"{HOME}/?Action=DeleteTopic&TopicArn={TOPIC}",
            f"{HOME}/?Action=ConfirmSubscription&Action=DeleteTopic&TopicArn={TOPIC}",
            f"{HOME}/?Action=ConfirmSubscription&TopicArn={TOPIC}2",
            f"{HOME}/?Action=ConfirmSubscription",
        ],
    )
    def test_nothing_else_is_ever_visited(self, desk: Desk, signer: Signer, url: str) -> None:
        desk.refuses(signer.confirmation(SubscribeURL=url), "not confirmed at SNS")
        assert desk.asked == [signer.url]

    def test_an_unsigned_one_is_not_confirmed(self, desk: Desk, signer: Signer) -> None:
        desk.refuses({**signer.confirmation(), "Token": "other"}, "does not fit")
        assert desk.asked == [signer.url]

    def test_the_end_of_one_is_let_in_and_nothing_is_asked(
        self, desk: Desk, signer: Signer
    ) -> None:
        message = signer.confirmation()
        ended = signer.sign(**{**message, "Type": "UnsubscribeConfirmation", "version": "2"})
        assert desk.gate.admit(ended) == "UnsubscribeConfirmation"
        assert desk.asked == [signer.url]


@pytest.mark.parametrize(
    ("topic", "home"),
    [
        ("arn:aws-cn:sns:cn-north-1:123456789012:t", "https://sns.cn-north-1.amazonaws.com.cn"),
        (
            "arn:aws-us-gov:sns:us-gov-west-1:123456789012:t",
            "https://sns.us-gov-west-1.amazonaws.com",
        ),
    ],
)
def test_other_partitions_have_their_own_hosts(signer: Signer, topic: str, home: str) -> None:
    desk, path = Desk(signer, topic), "/SimpleNotificationService-0a.pem"
    desk.gate.admit(signer.sign(TopicArn=topic, SigningCertURL=home + path))
    desk.refuses(signer.sign(TopicArn=topic, SigningCertURL=signer.url), "topic's region")
    assert desk.asked == [home + path]


class TestFetch:
    """Over a transport of the test's own: the real one would need SNS."""

    @pytest.fixture
    def answers(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[list[httpx.Response | Exception]]:
        scripted: list[httpx.Response | Exception] = []

        def handle(request: httpx.Request) -> httpx.Response:
            answer = scripted.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        def stream(method: str, url: str, **options: Any) -> Any:
            trust = options.pop("verify")
            self.trusts_more = trust is not True and trust.cert_store_stats()["x509"] == 1
            assert options == {"timeout": sns.FETCH_SECONDS, "follow_redirects": False}
            client = httpx.Client(transport=httpx.MockTransport(handle))
            return client.stream(method, url, **options)

        monkeypatch.setattr(httpx, "stream", stream)
        yield scripted
        assert scripted == []

    def test_the_body_comes_whole(self, answers: list[httpx.Response | Exception]) -> None:
        answers.append(httpx.Response(200, content=b"x" * sns.FETCH_BYTES))
        assert len(https_fetch(HOME)) == sns.FETCH_BYTES
        assert not self.trusts_more

    def test_the_authority_of_the_settings_is_trusted(
        self, answers: list[httpx.Response | Exception], signer: Signer, tmp_path: Path
    ) -> None:
        bundle = tmp_path / "authority.pem"
        bundle.write_bytes(signer.certificate)
        answers.append(httpx.Response(200, content=b"it"))
        assert https_fetch(HOME, str(bundle)) == b"it"
        assert self.trusts_more

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (httpx.Response(302, headers={"Location": "https://evil.example"}), "answered 302"),
            (httpx.Response(503), "answered 503"),
            (httpx.Response(200, content=b"x" * (sns.FETCH_BYTES + 1)), "too long"),
            (httpx.ConnectError("refused"), "ConnectError"),
            (httpx.ReadTimeout("slow"), "ReadTimeout"),
        ],
    )
    def test_anything_else_is_an_error_that_passes(
        self, answers: list[httpx.Response | Exception], answer: Any, reason: str
    ) -> None:
        answers.append(answer)
        with pytest.raises(ProofUnavailable, match=reason):
            https_fetch(HOME)
