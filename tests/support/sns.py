"""Signs messages as SNS does, with a certificate of the test's own."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.x509.oid import NameOID

from datasync.services.events.sns import CONFIRMATION, NOTIFICATION, canonical

REGION = "eu-central-1"
TOPIC = f"arn:aws:sns:{REGION}:123456789012:events"
HASHES = {"1": hashes.SHA1(), "2": hashes.SHA256()}


class Signer:
    """SNS of one region: a key, its certificate, and the messages it signs."""

    def __init__(self, region: str = REGION, *, days: int = 1, elliptic: bool = False) -> None:
        self.home = f"https://sns.{region}.amazonaws.com"
        self.url = f"{self.home}/SimpleNotificationService-0123456789abcdef.pem"
        self._key = rsa.generate_private_key(65537, 2048)
        self.certificate = _certificate(
            ec.generate_private_key(ec.SECP256R1()) if elliptic else self._key, days
        )

    def sign(self, version: str = "2", **members: Any) -> dict[str, Any]:
        """The message with these members, and what SNS adds to them."""
        message = {
            "Type": NOTIFICATION,
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": TOPIC,
            "Message": json.dumps({"Records": []}),
            "Timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "SignatureVersion": version,
            "SigningCertURL": self.url,
            **members,
        }
        signed = self._key.sign(canonical(message, message["Type"]), PKCS1v15(), HASHES[version])
        return {**message, "Signature": base64.b64encode(signed).decode()}

    def confirmation(self, topic: str = TOPIC, **members: Any) -> dict[str, Any]:
        """The greeting of a new subscription."""
        url = f"{self.home}/?Action=ConfirmSubscription&TopicArn={topic}&Token=0123456789"
        more = {"Token": "0123456789", "SubscribeURL": url, "TopicArn": topic, **members}
        return self.sign(Type=CONFIRMATION, **more)


def _certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, days: int) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=3))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)
