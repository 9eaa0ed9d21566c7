"""The entries of API_KEYS: what they mean, and what is refused without telling a secret."""

import pytest

from datasync.models.access import Right, Role, api_keys, digest_of, hashed

ALL = set(Right)


@pytest.mark.parametrize(
    "role, rights",
    [
        ("read", {Right.READ}),
        ("operate", {Right.READ, Right.OPERATE}),
        ("notify", {Right.NOTIFY}),
        ("admin", ALL),
    ],
)
def test_a_role_has_these_rights(role: str, rights: set[Right]) -> None:
    (key,) = api_keys([f"grafana:a-secret:{role}"])
    assert (key.name, key.role, key.secret) == ("grafana", Role(role), "a-secret")
    assert key.role.rights == rights


def test_a_secret_alone_is_an_administrators() -> None:
    first, second = api_keys(["one-secret", "another"])
    assert (first.name, second.name) == ("key-1", "key-2")
    assert first.role.rights == second.role.rights == ALL


def test_a_secret_may_hold_colons() -> None:
    (key,) = api_keys(["ci:a:b:c:notify"])
    assert (key.name, key.secret, key.role) == ("ci", "a:b:c", Role.NOTIFY)


def test_a_hash_stands_for_its_secret() -> None:
    (key,) = api_keys([f"ci:{hashed('a-secret')}:operate"])
    assert (key.digest, key.secret) == (digest_of("a-secret"), "")
    (alone,) = api_keys([hashed("a-secret")])
    assert (alone.digest, alone.role) == (key.digest, Role.ADMIN)


@pytest.mark.parametrize(
    "entry",
    [
        "ci:very-secret",
        "ci:very-secret:",
        "ci:very-secret:root",
        "ci:very-secret:ADMIN",
        ":very-secret:admin",
        "c i:very-secret:admin",
        f"{'n' * 65}:very-secret:admin",
        "very-secret::admin",
    ],
)
def test_what_is_no_entry_is_named_by_its_number(entry: str) -> None:
    with pytest.raises(ValueError, match="entry 2 is not") as caught:
        api_keys(["fine", entry])
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize("digest", ["", "abc", "0" * 63, "0" * 65, "G" * 64, "A" * 64])
def test_a_hash_that_is_none_is_no_secret_either(digest: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        api_keys([f"ci:sha256-{digest}:read"])


@pytest.mark.parametrize(
    "entries, what",
    [
        (["ci:one:read", "ci:two:read"], "name"),
        (["ci:one:read", "cd:one:admin"], "secret"),
        (["one", f"cd:{hashed('one')}:read"], "secret"),
    ],
)
def test_two_keys_are_two(entries: list[str], what: str) -> None:
    with pytest.raises(ValueError, match=f"same {what} twice"):
        api_keys(entries)


def test_a_key_does_not_show_its_secret() -> None:
    assert "very-secret" not in repr(api_keys(["ci:very-secret:read"]))
