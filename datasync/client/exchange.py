"""One request and its answer over httpx, as both clients make them: limits, retries, errors.

Knows no verb. Nothing is open before a client is made.
"""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

import certifi
import httpx
from tenacity import (
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from datasync import __version__
from datasync.client.address import Address
from datasync.client.errors import (
    BadRequest,
    ClientError,
    ClientSetupError,
    ServiceTimeout,
    ServiceUnreachable,
)

CONNECT_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 30.0
LONGEST_RETRY_SECONDS = 60.0
# A connection is kept for less long than servers and proxies keep it: those that they have just
# closed would cost what is not sent again.
LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=3.0)
_ASK_LATER = (429, 503)
_GATEWAY = (502, 503, 504)
_backoff = wait_random_exponential(multiplier=0.2, max=5.0)


def http_options(address: Address, timeout_seconds: float) -> dict[str, Any]:
    """What both clients of httpx are made with.

    No redirect is followed and no proxy of the environment used: the key goes to the host of the
    address and to no other.
    """
    headers: dict[str, str | bytes] = {"User-Agent": f"datasync-client/{__version__}"}
    if address.key:
        headers["Authorization"] = b"Bearer " + address.key.encode()
    return {
        "headers": headers,
        "timeout": timeouts(timeout_seconds),
        "follow_redirects": False,
        "trust_env": False,
    }


def transport_options(address: Address, ca_file: str | Path | None) -> dict[str, Any]:
    """What both transports of httpx are made with. Raises: ClientSetupError."""
    secure = address.url.startswith("https:")
    return {
        # Without TLS one that trusts nobody, which is made at once.
        "verify": _trusted(ca_file) if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        "trust_env": False,
        "limits": LIMITS,
        # A long answer may be waited for: this tells when the other machine is gone.
        "socket_options": list(_keepalive()),
    }


def _trusted(ca_file: str | Path | None) -> ssl.SSLContext:
    """Whom to believe: the system's authorities, which SSL_CERT_FILE may replace, certifi's, and
    those of `ca_file`."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:  # also what is no certificate
            raise ClientSetupError(
                f"the certificates in ca_file cannot be read: {error.strerror or error}",
                hint="It must be a file of certificates in the form PEM.",
            ) from None
    return context


def _keepalive() -> Iterator[tuple[int, int, int]]:
    yield socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):  # not on every system
            yield socket.IPPROTO_TCP, getattr(socket, name), value


def timeouts(usual_seconds: float, answer_seconds: float | None = None) -> httpx.Timeout:
    """Of one request: between two pieces of the answer `answer_seconds` may pass."""
    longest = usual_seconds if answer_seconds is None else answer_seconds
    return httpx.Timeout(
        usual_seconds,
        connect=min(usual_seconds, CONNECT_SECONDS),
        read=None if longest == inf else longest,
    )


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """Errors of httpx as ours. Raises: BadRequest, ServiceUnreachable, ServiceTimeout."""
    try:
        yield
    except (httpx.InvalidURL, httpx.LocalProtocolError):  # their words may hold the key
        raise BadRequest(
            "the request cannot be sent as HTTP", hint="Is the key, or a prefix, far too long?"
        ) from None
    except httpx.TimeoutException as error:
        raise ServiceTimeout(
            f"no answer from {address.url} in time",
            hint="Give it a longer timeout_seconds, or look how the service is.",
        ) from error
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise ServiceUnreachable(
            f"no connection to {address.url}: {str(error) or type(error).__name__}",
            hint=_hint(str(error)),
        ) from error


def _hint(reason: str) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return "Trust the authority of its certificate: ca_file, or SSL_CERT_FILE."
    return "Is the service running, and is this its address?"


def policy(method: str, retries: int) -> dict[str, Any]:
    """How tenacity tries a request again, for its sync and its async form alike."""
    return {
        "retry": retry_if_exception(lambda error: is_passing(error, method)),
        "stop": stop_after_attempt(retries + 1) | stop_after_delay(LONGEST_RETRY_SECONDS),
        "wait": _pause_seconds,
        "reraise": True,
    }


def resuming_policy(gives_up: Callable[[RetryCallState], bool]) -> dict[str, Any]:
    """The same for a download, which goes on for as long as each try brings something."""
    return {**policy("GET", 0), "stop": gives_up}


def is_passing(error: BaseException, method: str) -> bool:
    """Whether another try may help and can do no harm.

    A service that says when to come back has done nothing; that goes for every method. A broken
    connection leaves open what was done, so that only a GET is sent again, and so does the answer
    of a gateway. What the service itself could not do it has tried often enough.
    """
    if not isinstance(error, ClientError):
        return False
    later = error.retry_after_seconds
    if error.status in _ASK_LATER and later is not None:
        return later <= LONGEST_PAUSE_SECONDS
    broken = isinstance(error, ServiceUnreachable)
    return method == "GET" and (broken or (error.status in _GATEWAY and not error.error))


def _pause_seconds(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    later = error.retry_after_seconds if isinstance(error, ClientError) else None
    return later if later is not None else _backoff(state)
