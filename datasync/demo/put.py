"""Finds the demo that runs on this machine, and puts objects into its bucket.

The running demo leaves its address in the user's cache folder, where any terminal finds it.
"""

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from datasync.errors import BucketError, ConfigurationError, NetworkFailure

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_NONE: Mapping[str, str] = {}
_NONE_RUNNING = "no demo is running for this user"


def put_object(key: str, content: str) -> int:
    """Put `content` (text, or `@path` of a file) under `key`; returns its size in bytes.

    Raises: ConfigurationError when no demo runs or the file cannot be read, BucketError.
    """
    body = _body(content)
    request = urllib.request.Request(_address() + urllib.parse.quote(key), body, method="PUT")
    try:
        with _DIRECT.open(request, timeout=30):
            return len(body)
    except urllib.error.HTTPError as error:
        with error:
            raise BucketError(f"the demo's bucket answered {error.code}") from None
    except OSError:
        raise NetworkFailure(_NONE_RUNNING, hint="Start one: datasync demo") from None


def _body(content: str) -> bytes:
    if not content.startswith("@"):
        return content.encode("utf-8", "surrogateescape")
    try:
        return Path(content[1:]).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {content[1:]}: {error.strerror}") from None


def _address_file() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "datasync" / "demo.json"


def _address() -> str:
    return str(_note("bucket_url")) + "/"


def environment() -> dict[str, str]:
    """The variables that point `datasync` at the running demo. Raises: ConfigurationError."""
    return {str(name): str(value) for name, value in dict(_note("environment")).items()}


def _note(name: str) -> Any:
    try:
        return json.loads(_address_file().read_text())[name]
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigurationError(_NONE_RUNNING, hint="Start one: datasync demo") from None


@contextmanager
def announced(bucket_url: str, variables: Mapping[str, str] = _NONE) -> Iterator[bool]:
    """Leave the bucket's URL for `put_object`, and variables for `environment`.

    Yields whether that was possible.
    """
    note = json.dumps(
        {"bucket_url": bucket_url, "pid": os.getpid(), "environment": dict(variables)}
    )
    file = _address_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(note)
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):
            if file.read_text() == note:  # a later demo has left its own
                file.unlink()
