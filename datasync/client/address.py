"""Where the service is and which key opens it: from arguments, else from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from datasync.client.errors import ClientSetupError

URL = "DATASYNC_URL"
KEY = "DATASYNC_API_KEY"
KEY_FILE = "DATASYNC_API_KEY_FILE"
_EXAMPLE = "Example: http://localhost:8888"


@dataclass(frozen=True, slots=True)
class Address:
    """`url` is without a slash at its end. `key` is shown nowhere."""

    url: str
    key: str | None = field(default=None, repr=False)


def address_of(
    url: str | None = None,
    api_key: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Address:
    """The address; what is None is taken from the environment, an empty key is none.

    White space around a key is no part of it: no request could carry it.

    Raises: ClientSetupError.
    """
    variables = os.environ if environment is None else environment
    found = url if url is not None else variables.get(URL)
    if not found:
        raise ClientSetupError(
            "no address of the service is given", hint=f"Give url, or set {URL}. {_EXAMPLE}"
        )
    key = ((api_key if api_key is not None else _key_in(variables)) or "").strip()
    return Address(_checked(found), _printable(key) if key else None)


def _checked(url: str) -> str:
    problem = _problem(url)
    if problem:
        raise ClientSetupError(f"the address of the service {problem}", hint=_EXAMPLE)
    return url.rstrip("/")


def _problem(url: str) -> str | None:
    """What is wrong with a URL; never the URL itself, which may hold a password."""
    if not (url.isascii() and url.isprintable()) or " " in url:
        return "has characters that no URL has"
    try:
        parts = urlsplit(url)
        port = parts.port
        httpx.URL(url)  # what it does not take, no request can go to
    except (ValueError, httpx.InvalidURL):
        return "is no URL"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "must be http:// or https:// with a host"
    if "@" in parts.netloc:
        return f"must not hold a user or a password; the key goes into {KEY}"
    if "?" in url or "#" in url:
        return "must not have a query or a fragment"
    return None


def _key_in(variables: Mapping[str, str]) -> str | None:
    key, file = variables.get(KEY), variables.get(KEY_FILE)
    if key and file:
        raise ClientSetupError(f"{KEY} and {KEY_FILE} are both set", hint="Keep one of them.")
    return _read(file) if file else key


def _read(name: str) -> str:
    try:
        text = Path(name).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, RuntimeError, ValueError) as error:  # no such home; no text
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is no text"
        raise ClientSetupError(
            f"{KEY_FILE} names a file that cannot be read: {reason}",
            hint=f"Example: {KEY_FILE}=/run/secrets/datasync_api_key",
        ) from None
    if not text:
        raise ClientSetupError(f"{KEY_FILE} names a file that is empty")
    return text


def _printable(key: str) -> str:
    if not key.isprintable():
        raise ClientSetupError("the key has characters that no key has", hint="Look for line ends.")
    return key
