"""The gate for messages that SNS sends over HTTP: who signed, and for which topic.

Only configured topics are let in, and only hosts of SNS in a topic's own region are ever asked:
for the certificate that proves a signature, and to confirm a subscription. Knows no route.

Source: Amazon SNS Developer Guide, "Verifying the signatures of Amazon SNS messages".
"""

import base64
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from datasync.errors import ProofUnavailable, Unauthorized

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.x509 import Certificate

FETCH_SECONDS = 5.0
FETCH_BYTES = 64 * 1024
CERTIFICATES = 16  # kept; SNS has one or two a region
WAITING = 4  # threads at once, for a certificate; whoever comes then is told to try again
FETCHES_A_MINUTE = 10  # of certificates: forged messages must not make us ask SNS at their pace
# SNS tries for an hour to deliver a message; our clock and its may differ besides.
OLDEST_SECONDS = 2 * 3600.0
NEWEST_SECONDS = 900.0

CONFIRMATION, NOTIFICATION = "SubscriptionConfirmation", "Notification"
_CONFIRMED = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    CONFIRMATION: _CONFIRMED,
    "UnsubscribeConfirmation": _CONFIRMED,
}
_DOMAINS = {
    "aws": "amazonaws.com",
    "aws-us-gov": "amazonaws.com",
    "aws-cn": "amazonaws.com.cn",
    "aws-iso": "c2s.ic.gov",
    "aws-iso-b": "sc2s.sgov.gov",
    "aws-iso-e": "cloud.adc-e.uk",
    "aws-iso-f": "csp.hci.ic.gov",
}
_CERTIFICATE_PATH = re.compile(r"/SimpleNotificationService-[0-9a-f]{1,64}\.pem")
_FORGED = "Nothing to do: somebody sent what SNS did not sign."


class SnsGate:
    """Lets in what a configured topic signed. Safe to use from threads; blocks while it asks."""

    def __init__(
        self,
        topics: Collection[str],
        fetch: Callable[[str], bytes],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._topics = frozenset(topics)
        self._fetch = fetch
        self._clock = clock
        self._certificates: dict[str, Certificate] = {}
        self._fetches = deque[float](maxlen=FETCHES_A_MINUTE)
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(WAITING)

    def admit(self, message: Mapping[str, str]) -> str:
        """The type of a message that is proved; a subscription is confirmed on the way.

        Raises: Unauthorized, ProofUnavailable when SNS cannot be asked now.
        """
        topic = message.get("TopicArn", "")
        if topic not in self._topics:
            raise Unauthorized(
                "a message of an SNS topic that is not configured",
                hint="Name the topic's ARN in SNS_TOPIC_ARNS to take its messages.",
            )
        kind = message.get("Type", "")
        if kind not in _SIGNED:
            raise Unauthorized("an SNS message of an unknown type", hint=_FORGED)
        self._check_age(message)
        self._check_signature(message, kind, topic)
        if kind == CONFIRMATION:
            self._confirm(message, topic)
        return kind

    def _check_age(self, message: Mapping[str, str]) -> None:
        try:
            sent = datetime.fromisoformat(message.get("Timestamp", "")).timestamp()
        except (ValueError, OverflowError):
            raise Unauthorized("the SNS message says no time", hint=_FORGED) from None
        age = self._clock() - sent
        if not -NEWEST_SECONDS <= age <= OLDEST_SECONDS:
            raise Unauthorized(
                f"the SNS message was signed {age:.0f} seconds ago",
                hint="Set this machine's clock, with NTP for example.",
            )

    def _check_signature(self, message: Mapping[str, str], kind: str, topic: str) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

        hashing = {"1": hashes.SHA1(), "2": hashes.SHA256()}.get(
            message.get("SignatureVersion", "")
        )
        if hashing is None:
            raise Unauthorized("an SNS signature of an unknown version", hint=_FORGED)
        key = self._key(message.get("SigningCertURL", ""), topic)
        try:
            signature = base64.b64decode(message.get("Signature", ""), validate=True)
            key.verify(signature, canonical(message, kind), PKCS1v15(), hashing)
        except (InvalidSignature, ValueError):
            raise Unauthorized("the SNS signature does not fit the message", hint=_FORGED) from None

    def _key(self, url: str, topic: str) -> "RSAPublicKey":
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

        parts = urlsplit(url) if url.isascii() else urlsplit("")
        pinned = _is_at(url, topic) and _CERTIFICATE_PATH.fullmatch(parts.path)
        if not pinned or parts.query:
            raise Unauthorized(
                "the SNS certificate is not at SNS of the topic's region", hint=_FORGED
            )
        certificate = self._certificate(url)
        now = datetime.fromtimestamp(self._clock(), UTC)
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise Unauthorized("the SNS certificate is not valid now", hint=_FORGED)
        key = certificate.public_key()
        if not isinstance(key, RSAPublicKey):
            raise Unauthorized("the SNS certificate has no RSA key", hint=_FORGED)
        return key

    def _certificate(self, url: str) -> "Certificate":
        known = self._certificates.get(url)
        if known is not None:  # not behind somebody's fetch of another one
            return known
        if not self._places.acquire(blocking=False):
            raise ProofUnavailable("too many messages wait for a certificate of SNS")
        try:
            with self._lock:  # one fetch for all who wait for it
                return self._certificates.get(url) or self._kept(url)
        finally:
            self._places.release()

    def _kept(self, url: str) -> "Certificate":
        made = self._fetched(url)
        while len(self._certificates) >= CERTIFICATES:
            self._certificates.pop(next(iter(self._certificates)))
        self._certificates[url] = made
        return made

    def _fetched(self, url: str) -> "Certificate":
        from cryptography import x509

        now = self._clock()
        if len(self._fetches) == FETCHES_A_MINUTE and 0 <= now - self._fetches[0] < 60:
            raise ProofUnavailable("SNS was asked for too many certificates in this minute")
        self._fetches.append(now)
        try:
            return x509.load_pem_x509_certificate(self._fetch(url))
        except ValueError:
            raise ProofUnavailable("what SNS sent is no certificate") from None

    def _confirm(self, message: Mapping[str, str], topic: str) -> None:
        url = message.get("SubscribeURL", "")
        asked = parse_qs(urlsplit(url).query) if _is_at(url, topic) else {}
        if asked.get("Action") != ["ConfirmSubscription"] or asked.get("TopicArn") != [topic]:
            raise Unauthorized("the SNS subscription is not confirmed at SNS", hint=_FORGED)
        self._fetch(url)


def canonical(message: Mapping[str, str], kind: str) -> bytes:
    """What SNS signs: the names and values of certain members, those that are there, in lines."""
    members = [(name, message[name]) for name in _SIGNED[kind] if name in message]
    text = "".join(f"{name}\n{value}\n" for name, value in members)
    return text.encode("utf-8", "surrogatepass")


def _is_at(url: str, topic: str) -> bool:
    """Whether a URL is plainly one of SNS in the topic's region."""
    _, partition, _, region, *_ = topic.split(":")
    domain = _DOMAINS.get(partition)
    start = f"https://sns.{region}.{domain}/"
    return domain is not None and url.startswith(start) and not set(url) & set("\\#@ \t\r\n")


def https_fetch(url: str, ca_bundle: str | None = None) -> bytes:
    """The body behind an https URL: no redirect is followed, 64 KiB at most.

    `ca_bundle`: a file of certificates to trust (default: certifi's). Proxies are those of the
    environment. Raises: ProofUnavailable.
    """
    import ssl

    import httpx

    trust = ssl.create_default_context(cafile=ca_bundle) if ca_bundle else True
    try:
        with httpx.stream(
            "GET", url, timeout=FETCH_SECONDS, follow_redirects=False, verify=trust
        ) as answer:
            body = b""
            for chunk in answer.iter_bytes():
                body += chunk
                if len(body) > FETCH_BYTES:
                    raise ProofUnavailable("the answer of SNS is too long")
            if answer.status_code != 200:
                raise ProofUnavailable(f"SNS answered {answer.status_code}")
            return body
    except httpx.HTTPError as error:
        raise ProofUnavailable(f"SNS cannot be asked: {type(error).__name__}") from error
