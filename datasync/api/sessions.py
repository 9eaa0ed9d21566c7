"""The sessions of browsers: a signed cookie that stands for a key, for some hours.

Nothing is kept: a cookie names its key and is signed with a secret of this directory's services
and the digest of that key, so it ends with the key, and is good at each of them. Knows no route.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from itsdangerous import BadData, URLSafeTimedSerializer

from datasync.models.access import ApiKey

COOKIE = "datasync_session"
CSRF_HEADER = "x-csrf-token"
LIFE_SECONDS = 12 * 3600
SECRET_BYTES = 32
FILE = "session.key"


class Sessions:
    """Makes cookies, and knows them again."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def cookie(self, key: ApiKey) -> str:
        """The value of a cookie for who showed this key."""
        return str(self._signer(key).dumps(key.name))

    def key_of(self, cookie: str, keys: Iterable[ApiKey]) -> ApiKey | None:
        """The key that a cookie stands for, if it is one of these and the cookie is still good."""
        for key in keys:  # few, and only one can have signed it
            try:
                if self._signer(key).loads(cookie, max_age=LIFE_SECONDS) == key.name:
                    return key
            except BadData:
                continue
        return None

    def csrf_token(self, cookie: str) -> str:
        """What a page of this session sends along with everything that changes something."""
        return hmac.new(self._secret, b"csrf:" + cookie.encode(), hashlib.sha256).hexdigest()

    def _signer(self, key: ApiKey) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self._secret + key.digest, salt="datasync-session")


def session_secret(folder: Path) -> bytes:
    """The secret that the services of one directory share; made by the first of them.

    Where none can be kept, one that ends with this process.
    """
    path = folder / FILE
    for _ in range(2):
        try:
            with open(path, "rb") as file:
                known = file.read(SECRET_BYTES + 1)
            return known if len(known) == SECRET_BYTES else secrets.token_bytes(SECRET_BYTES)
        except FileNotFoundError:
            _make(path)
        except OSError:
            break
    return secrets.token_bytes(SECRET_BYTES)


def _make(path: Path) -> None:
    """Write a new secret whole, under a name of its own first: another process may do the same."""
    fresh = path.with_name(f"{FILE}.{secrets.token_hex(8)}")
    try:
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(file, secrets.token_bytes(SECRET_BYTES))
            os.fsync(file)
        finally:
            os.close(file)
        try:
            os.link(fresh, path)
        finally:
            os.unlink(fresh)
    except OSError:
        return
