"""Who may do what: the roles, and the keys that carry them. Pure.

A key is known by the SHA-256 of its secret: it is random and long, so that a slow digest would
protect nothing and cost every request its time.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

HASHED = "sha256-"
_HASH = re.compile(rf"{HASHED}([0-9a-f]{{64}})")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Right(Enum):
    """What a request asks for."""

    READ = "read"  # look at anything
    OPERATE = "operate"  # start, stop, approve, retry, restore
    NOTIFY = "notify"  # tell of events


class Role(Enum):
    """What the holder of a key may do."""

    READ = "read"
    OPERATE = "operate"
    NOTIFY = "notify"
    ADMIN = "admin"

    @property
    def rights(self) -> frozenset[Right]:
        return _RIGHTS[self]


_RIGHTS = {
    Role.READ: frozenset({Right.READ}),
    Role.OPERATE: frozenset({Right.READ, Right.OPERATE}),
    Role.NOTIFY: frozenset({Right.NOTIFY}),
    Role.ADMIN: frozenset(Right),
}
ENTRY = "name:secret:role, with a role of read, operate, notify or admin"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`digest` is the SHA-256 of the secret, `secret` is empty where only that is known."""

    name: str
    digest: bytes
    role: Role
    secret: str = field(default="", repr=False)


def is_name(text: str) -> bool:
    """Whether a key can be called so."""
    return _NAME.fullmatch(text) is not None


def digest_of(secret: str) -> bytes:
    """What a secret is compared by. A header's bytes that are no UTF-8 are some secret, too."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def hashed(secret: str) -> str:
    """A secret as it may stand in API_KEYS without being told to who reads them."""
    return f"{HASHED}{digest_of(secret).hex()}"


def api_keys(entries: Iterable[str]) -> tuple[ApiKey, ...]:
    """The keys of entries `name:secret:role`; a secret alone is an administrator's.

    Raises: ValueError, with words that follow the variable's name and tell no secret.
    """
    keys = tuple(_key(number, entry) for number, entry in enumerate(entries, start=1))
    for what, values in (
        ("name", [key.name for key in keys]),
        ("secret", [key.digest.hex() for key in keys]),
    ):
        if len(set(values)) < len(values):
            raise ValueError(f"must not have the same {what} twice")
    return keys


def _key(number: int, entry: str) -> ApiKey:
    name, secret, role = f"key-{number}", entry, Role.ADMIN.value
    if ":" in entry:
        name, _, rest = entry.partition(":")
        secret, _, role = rest.rpartition(":")
    if not is_name(name) or not secret or role not in {each.value for each in Role}:
        raise ValueError(f"must be secrets, or entries {ENTRY}, by commas; entry {number} is not")
    if (known := _HASH.fullmatch(secret)) is not None:
        return ApiKey(name, bytes.fromhex(known[1]), Role(role))
    if secret.startswith(HASHED):
        raise ValueError(f"has a hash that is no SHA-256 in 64 hexadecimal digits: entry {number}")
    return ApiKey(name, digest_of(secret), Role(role), secret)
