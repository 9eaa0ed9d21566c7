"""AWS Signature Version 4 for S3, by request headers. Pure: the time comes in as an argument.

Must not know: the network, the clock, where credentials come from. The rules are those of the
"Signature Calculations for the Authorization Header" chapter of the Amazon S3 API reference: the
path is encoded once and never normalised, and the body's hash is sent as a header.
"""

import hmac
import time
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote

from datasync.errors import CredentialsRejected

EMPTY_SHA256 = sha256(b"").hexdigest()
ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """One usable set; its `repr` shows no secret."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SigningScope:
    """What stays the same for a day: the scope and the key that follows from it."""

    credentials: Credentials
    day: str
    scope: str
    key: bytes = field(repr=False)


def scope_for(credentials: Credentials, day: str, region: str) -> SigningScope:
    """The scope of one day (`YYYYMMDD`), region and set of credentials.

    Raises: CredentialsRejected for a set that no header can carry.
    """
    texts = (credentials.access_key, credentials.token or "")
    if not all(text.isascii() and text.isprintable() for text in texts):
        raise CredentialsRejected("the AWS credentials have characters that none can have")
    if not credentials.secret_key.isprintable():
        raise CredentialsRejected("the AWS secret key has characters that none can have")
    key = f"AWS4{credentials.secret_key}".encode()
    for step in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")
    return SigningScope(credentials, day, f"{day}/{region}/s3/aws4_request", key)


@lru_cache(maxsize=4)
def stamp_of(second: int) -> str:
    """A second since the epoch as `YYYYMMDDTHHMMSSZ`."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))


def encode_path(key: str) -> str:
    """A key as it is sent and signed: every byte but unreserved ones and `/` escaped, once."""
    return quote(key, safe="/~")


def encode_query(parameters: dict[str, str]) -> str:
    """Query parameters as they are sent and signed: escaped, in the order of their names."""
    pairs = sorted(
        (quote(name, safe="~"), quote(text, safe="~")) for name, text in parameters.items()
    )
    return "&".join([f"{name}={text}" for name, text in pairs])


@dataclass(frozen=True, slots=True)
class Frame:
    """What requests of one second, host and set of headers have in common."""

    lines: tuple[str, ...]  # to be sent beside the Authorization
    tail: str  # of the canonical request, behind path and query
    text: str  # that is signed, but for the digest at its end
    authorization: str  # but for the signature at its end
    key: bytes = field(repr=False)


def frame(scope: SigningScope, stamp: str, host: str, headers: dict[str, str]) -> Frame:
    """`headers` have lower-case names and values without outer or repeated blanks.

    Every one of them is signed, and so is the Host that libcurl sends.
    """
    credentials = scope.credentials
    sent = {**headers, "x-amz-content-sha256": EMPTY_SHA256, "x-amz-date": stamp}
    if credentials.token is not None:
        sent["x-amz-security-token"] = credentials.token
    lines = [f"{name}:{text}" for name, text in sent.items()]
    signed = sorted([f"host:{host}", *lines])
    names = ";".join([line[: line.index(":")] for line in signed])
    block = "\n".join(signed)
    return Frame(
        tuple(lines),
        f"{block}\n\n{names}\n{EMPTY_SHA256}",
        f"{ALGORITHM}\n{stamp}\n{scope.scope}\n",
        f"Authorization:{ALGORITHM} Credential={credentials.access_key}/{scope.scope}, "
        f"SignedHeaders={names}, Signature=",
        scope.key,
    )


def sign(frame: Frame, method: str, path: str, query: str) -> list[str]:
    """The header lines of a request without a body, its Authorization among them.

    `path` and `query` are encoded already.
    """
    canonical = f"{method}\n{path}\n{query}\n{frame.tail}"
    text = frame.text + sha256(canonical.encode()).hexdigest()
    signature = hmac.digest(frame.key, text.encode(), "sha256").hex()
    return [*frame.lines, frame.authorization + signature]
