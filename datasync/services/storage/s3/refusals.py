"""From an answer that is no object to the error that says why. Pure; no other place reads codes.

Whatever is not understood is `UnexpectedAnswer`, never "missing". Texts carry S3's code and
message, never a signature, a secret or a URL.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote

import pycurl
from lxml import etree

from datasync.errors import (
    AccessDenied,
    BucketError,
    BucketMissing,
    ClockSkewed,
    CredentialsRejected,
    NetworkFailure,
    ObjectArchived,
    ObjectMissing,
    PreconditionFailed,
    RangeUnsatisfiable,
    RedirectRefused,
    ServerFault,
    SlowDown,
    TransferStalled,
    UnexpectedAnswer,
)
from datasync.services.storage.s3.answers import Fields
from datasync.services.storage.s3.loop import STALLED

MAX_ERROR_BYTES = 64 * 1024
MAX_TEXT = 300

SKEW_CODES = {"RequestTimeTooSkewed"}
CREDENTIAL_CODES = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSecurity",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
}
SLOW_CODES = {
    "BandwidthLimitExceeded",
    "RequestLimitExceeded",
    "RequestThrottled",
    "SlowDown",
    "SlowDownRead",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
}
PASSING_CODES = {"RequestTimeout", "IncompleteBody", "OperationAborted", "InternalError"}
REDIRECT_CODES = {
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "PermanentRedirect",
    "Redirect",
    "TemporaryRedirect",
}
PLAIN: dict[int, type[BucketError]] = {
    412: PreconditionFailed,
    416: RangeUnsatisfiable,
    429: SlowDown,
    503: SlowDown,
}
_CODE = re.compile(r"[A-Za-z0-9.]{1,64}", re.ASCII)
_REGION = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)
_REPLACEMENT = "\ufffd"
_NOT_IN_XML = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF), _REPLACEMENT)
_ODD = re.compile(rb"&#(?:x([0-9A-Fa-f]{1,6})|([0-9]{1,7}));|[\x00-\x08\x0b\x0c\x0e-\x1f]")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer's status with what its error document says; empty texts when it has none."""

    status: int
    code: str = ""
    message: str = ""
    region: str = ""
    key: str = ""


def parse_refusal(status: int, fields: Fields, body: bytes) -> Refusal:
    """Read an error answer. A body that is no S3 error document leaves the code empty."""
    texts = _error_texts(body)
    code = texts.get("Code", "")
    region = fields.get("x-amz-bucket-region") or texts.get("Region", "")
    return Refusal(
        status=status,
        code=code if _CODE.fullmatch(code) else "",
        message=texts.get("Message", "")[:MAX_TEXT],
        region=region if _REGION.fullmatch(region) else "",
        key=texts.get("Key", ""),
    )


def error_for(refusal: Refusal, what: str, key: str | None = None) -> BucketError:
    """The error of a refused request; `what` names the object or the bucket, `key` the object."""
    status, code = refusal.status, refusal.code
    text = _describe(refusal, what)
    if code in SKEW_CODES:
        return ClockSkewed(text)
    if code in CREDENTIAL_CODES:
        return CredentialsRejected(f"{what}: S3 answers {status} {code}")
    if (300 <= status < 400 and status != 304) or code in REDIRECT_CODES:
        return _redirect(refusal, text)
    if code in SLOW_CODES:
        return SlowDown(text)
    if status in (401, 403):
        return ObjectArchived(text) if code == "InvalidObjectState" else AccessDenied(text)
    if status == 404:
        return _missing(refusal, text, key)
    if status in PLAIN:
        return PLAIN[status](text)
    if status == 501 or code == "NotImplemented":  # no fault: it would be the same next time
        return UnexpectedAnswer(text)
    if status >= 500 or code in PASSING_CODES:
        return ServerFault(text)
    return UnexpectedAnswer(text)


def error_for_curl(code: int, text: str, what: str) -> BucketError:
    """The error of a transfer that libcurl, or the watch over stalled ones, ended."""
    if code == STALLED:
        return TransferStalled(f"{what}: nothing moved for too long")
    if code in (pycurl.E_FTP_WEIRD_SERVER_REPLY, pycurl.E_UNSUPPORTED_PROTOCOL):
        return UnexpectedAnswer(f"{what}: the server does not answer in HTTP")
    if code == pycurl.E_PEER_FAILED_VERIFICATION:
        return NetworkFailure(
            f"{what}: the server's certificate is not trusted",
            hint="Name the authority's certificates in AWS_CA_BUNDLE.",
        )
    return NetworkFailure(f"{what}: {text or 'the connection failed'} (libcurl {code})")


def _missing(refusal: Refusal, text: str, key: str | None) -> BucketError:
    """Only S3's own word for it makes an object missing: a proxy's 404 proves nothing."""
    if refusal.code == "NoSuchKey":
        if key is not None and _is_about_another(refusal.key, key):
            return UnexpectedAnswer(f"{text}; it speaks of another key")
        return ObjectMissing(text)
    if refusal.code == "NoSuchBucket":
        return BucketMissing(text)
    return UnexpectedAnswer(text)


def _is_about_another(told: str, key: str) -> bool:
    """Whether a refusal names another key: two answers changed places on the way.

    A server that names none, or one with other slashes or still encoded, speaks of ours.
    """
    ours = _bare(key)
    return bool(told) and ours not in (_bare(told), _bare(unquote(told)))


def _bare(key: str) -> list[str]:
    """A key's segments as they survive a server's XML, which has no place for some characters."""
    told = key.translate(_NOT_IN_XML).replace("\r\n", "\n").strip()
    return [segment for segment in told.split("/") if segment]


def _redirect(refusal: Refusal, text: str) -> BucketError:
    if refusal.region:
        return RedirectRefused(
            f"{text}; the bucket is in {refusal.region}",
            hint=f"Set AWS_REGION={refusal.region}.",
        )
    return RedirectRefused(text)


def _describe(refusal: Refusal, what: str) -> str:
    said = f" {refusal.code}" if refusal.code else ""
    message = f" ({refusal.message!r})" if refusal.message else ""
    return f"{what}: S3 answers {refusal.status}{said}{message}"


def _error_texts(body: bytes) -> dict[str, str]:
    """Name and text of the fields of an `<Error>` document; empty when the body is none.

    A field that is said twice, or holds more than text, says nothing.
    """
    root = _parsed(body[:MAX_ERROR_BYTES])
    if root is None:
        return {}
    if etree.QName(root).localname != "Error" or has_document_type(root):
        return {}
    texts: dict[str, str] = {}
    for child in root.iterchildren("{*}*"):
        name = etree.QName(child).localname
        doubtful = name in texts or len(child)
        texts[name] = "" if doubtful else (child.text or "").strip()
    return texts


def _parsed(body: bytes) -> etree._Element | None:
    """A document, or None. One that speaks of a key with characters that XML has no place for is
    no XML, and S3 sends it all the same: they are read as U+FFFD."""
    with suppress(etree.XMLSyntaxError, ValueError):
        return etree.fromstring(body, safe_parser())
    with suppress(etree.XMLSyntaxError, ValueError):
        return etree.fromstring(_ODD.sub(_legible, body), safe_parser())
    return None


def _legible(odd: re.Match[bytes]) -> bytes:
    number = int(odd[1], 16) if odd[1] else int(odd[2]) if odd[2] else ord(odd[0])
    return _REPLACEMENT.encode() if number in _NOT_IN_XML else odd[0]


def has_document_type(root: etree._Element) -> bool:
    """Whether a document has a DOCTYPE, which S3 never sends: it may hide text in entities."""
    return root.getroottree().docinfo.internalDTD is not None


def safe_parser() -> etree.XMLParser:
    """A parser that loads nothing, expands nothing and stays small."""
    return etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=False
    )
