"""Puts an object into the bucket of the demo that runs on this machine.

The running demo leaves its address in the user's cache folder, where any terminal finds it.
"""

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from datasync.errors import BucketError, ConfigurationError, NetworkFailure

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
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
    try:
        return str(json.loads(_address_file().read_text())["bucket_url"]) + "/"
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigurationError(_NONE_RUNNING, hint="Start one: datasync demo") from None


@contextmanager
def announced(bucket_url: str) -> Iterator[bool]:
    """Leave the bucket's URL for `put_object`; yields whether that was possible."""
    note = json.dumps({"bucket_url": bucket_url, "pid": os.getpid()})
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
