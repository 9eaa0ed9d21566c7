"""Who may send notifications without a key: those who sign them rightly."""

import json
from typing import Any

import pytest

from datasync.api.senders import WINDOW_SECONDS
from datasync.errors import ProofUnavailable
from datasync.services.events import inbox
from tests.support import envelopes
from tests.support.service import BUCKET, Service, Starter
from tests.support.sns import TOPIC, Signer

URL = "/sync/s3-notification"
SECRET = "a-shared-secret"
BODY = json.dumps(
    {
        "Records": [
            {
                "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": BUCKET}, "object": {"key": "a"}},
            }
        ]
    }
).encode()
SNS = {"x-amz-sns-message-type": "Notification"}
FORWARDED = {"X-Forwarded-For": "203.0.113.9"}  # as if it came from elsewhere


def signed(body: bytes = BODY, secret: str = SECRET, age: int = 0) -> dict[str, str]:
    return envelopes.signed(body, secret, age)


def send(service: Service, headers: dict[str, str], body: bytes = BODY) -> Any:
    return service.api.post(URL, content=body, headers={**FORWARDED, **headers})


@pytest.fixture(params=[(), ("a-key",)], ids=["without keys", "with keys"])
def service(request: pytest.FixtureRequest, start_service: Starter) -> Service:
    return start_service(notification_secret=SECRET, api_keys=request.param)


def test_a_signed_notification_needs_no_key(service: Service) -> None:
    assert send(service, signed()).status_code == 202
    assert set(service.parts.ledger.dirty(["a"])) <= {"a"}


def test_an_unsigned_one_is_refused(service: Service) -> None:
    answer = send(service, {})
    assert (answer.status_code, answer.json()["error"]) == (401, "Unauthorized")
    assert service.parts.ledger.event_totals().by_status == {}


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        (signed(secret="another"), "does not fit"),
        (signed(body=BODY + b" "), "does not fit"),
        ({**signed(), "X-DataSync-Signature": "v1="}, "does not fit"),
        ({**signed(), "X-DataSync-Signature": "\u00e9"}, "does not fit"),
        ({**signed(), "X-DataSync-Timestamp": "1"}, "does not fit"),
        ({**signed(), "X-DataSync-Timestamp": "soon"}, "no number"),
        ({**signed(), "X-DataSync-Timestamp": "9" * 400}, "no number"),
        ({"X-DataSync-Signature": signed()["X-DataSync-Signature"]}, "no number"),
    ],
)
def test_a_wrong_signature_is_refused(
    service: Service, headers: dict[str, str], reason: str
) -> None:
    sent = {name: value.encode() for name, value in headers.items()}
    answer = send(service, sent)  # type: ignore[arg-type]
    assert answer.status_code == 401
    assert reason in answer.json()["detail"] and answer.json()["hint"]


@pytest.mark.parametrize("age", [WINDOW_SECONDS + 5, -WINDOW_SECONDS - 5])
def test_a_signature_counts_for_five_minutes(service: Service, age: int) -> None:
    assert send(service, signed(age=WINDOW_SECONDS - 5)).status_code == 202
    answer = send(service, signed(age=age))
    assert answer.status_code == 401 and "300 seconds" in answer.json()["detail"]


def test_a_key_does_not_make_a_wrong_signature_right(start_service: Starter) -> None:
    service = start_service(notification_secret=SECRET, api_keys=("a-key",))
    key = {"X-API-Key": "a-key"}
    assert send(service, key).status_code == 202
    assert send(service, {**key, **signed(secret="another")}).status_code == 401


def test_a_signature_without_a_secret_here_says_what_is_missing(start_service: Starter) -> None:
    answer = send(start_service(), signed())
    assert answer.status_code == 401 and "NOTIFICATION_SECRET" in answer.json()["hint"]


def test_a_signature_opens_no_other_route(service: Service) -> None:
    headers = {**FORWARDED, **signed(b"")}
    assert service.api.post("/sync/trigger", headers=headers).status_code == 401
    assert service.api.get(URL, headers=headers).status_code == 401


def test_a_large_body_of_a_stranger_is_bounded(service: Service) -> None:
    large = b"x" * (2**20 + 1)
    assert send(service, signed(large), large).status_code == 413
    assert send(service, {}, large).status_code == 401


# Messages of SNS: proved by their signature, whoever brings them


def test_a_message_of_a_topic_that_is_not_configured_is_refused_also_from_near(
    start_service: Starter,
) -> None:
    service = start_service(api_keys=("a-key",))
    answer = service.api.post(URL, json=Signer().sign(), headers={"X-API-Key": "a-key"})
    assert answer.status_code == 401 and "SNS_TOPIC_ARNS" in answer.json()["hint"]


def test_a_message_of_a_configured_topic_needs_no_key(start_service: Starter) -> None:
    signer = Signer()
    service = start_service(api_keys=("a-key",), sns_topic_arns=(TOPIC,))
    service.parts.topics._fetch = lambda _: signer.certificate
    message = signer.sign(Message=BODY.decode())
    headers = {"Content-Type": "text/plain; charset=UTF-8", **SNS, **FORWARDED}
    answer = service.api.post(URL, content=json.dumps(message), headers=headers)
    assert answer.status_code == 202
    assert [detail["file_key"] for detail in answer.json()["sync_details"]] == ["a"]
    forged = {**message, "Message": BODY.decode().replace('"a"', '"b"')}
    assert service.api.post(URL, json=forged, headers={**SNS, **FORWARDED}).status_code == 401


def sns_bodies_read(service: Service, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each body that is taken apart to find a message of SNS, whether on the event loop."""
    seen: list[bool] = []
    whole = inbox.sns_message

    def read(body: bytes) -> Any:
        seen.append(service.on_the_loop())
        return whole(body)

    monkeypatch.setattr(inbox, "sns_message", read)
    return seen


def test_a_large_message_of_a_stranger_is_read_for_our_topics_only_and_off_the_loop(
    start_service: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = Signer()
    service = start_service(api_keys=("a-key",), sns_topic_arns=(TOPIC,))
    service.parts.topics._fetch = lambda _: signer.certificate
    seen = sns_bodies_read(service, monkeypatch)
    message = signer.sign(Message=BODY.decode() + " " * 5_000)
    foreign = {**message, "TopicArn": "arn:aws:sns:eu-west-1:123456789012:another"}
    assert send(service, SNS, json.dumps(foreign).encode()).status_code == 401
    assert seen == []
    assert send(service, SNS, json.dumps(message).encode()).status_code == 202
    assert seen == [False]


def test_sns_that_cannot_be_asked_now_is_to_try_again(start_service: Starter) -> None:
    def fail(_: str) -> bytes:
        raise ProofUnavailable("no network")

    service = start_service(sns_topic_arns=(TOPIC,))
    service.parts.topics._fetch = fail
    answer = service.api.post(URL, json=Signer().sign())
    assert answer.status_code == 503 and answer.headers["Retry-After"]
