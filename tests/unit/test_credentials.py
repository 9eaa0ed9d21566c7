"""Credentials: given keys, botocore's chain, renewal without a restart, failures with a hint."""

import datetime
from pathlib import Path

import pytest
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.credentials import RefreshableCredentials
from botocore.session import Session

from datasync.errors import CredentialsRejected
from datasync.services.storage.s3.credentials import NOTHING_FOUND, ChainCredentials, source
from datasync.services.storage.s3.signing import Credentials


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Role:
    """A role server that gives a new set each time it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = False

    def metadata(self) -> dict[str, str]:
        self.asked += 1
        if self.fails:
            raise ConnectionError("no role server at 169.254.169.254 for hush-key")
        soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
        return {
            "access_key": f"key-{self.asked}",
            "secret_key": "hush",
            "token": f"token-{self.asked}",
            "expiry_time": soon.isoformat(),
        }

    def resolve(self) -> RefreshableCredentials:
        return RefreshableCredentials.create_from_metadata(
            self.metadata(), refresh_using=self.metadata, method="test"
        )


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment without any credentials, and no role server to ask."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


def test_given_keys_win(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("AWS_ACCESS_KEY_ID", "other")
    bare.setenv("AWS_SECRET_ACCESS_KEY", "other")

    given = source("key", "secret", "token")

    assert given is not None and given() == Credentials("key", "secret", "token")
    assert given() is given()


def test_unsigned_asks_nobody() -> None:
    assert source("key", "secret", unsigned=True) is None


def test_the_environment_is_part_of_the_chain(bare: pytest.MonkeyPatch) -> None:
    chain = source()
    bare.setenv("AWS_ACCESS_KEY_ID", "key")
    bare.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    bare.setenv("AWS_SESSION_TOKEN", "token")

    assert chain is not None and chain() == Credentials("key", "secret", "token")


def test_profiles_are_part_of_the_chain(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = "[team]\naws_access_key_id = key\naws_secret_access_key = secret\n"
    (tmp_path / "credentials").write_text(text)
    bare.setenv("AWS_PROFILE", "team")
    chain = source()

    assert chain is not None and chain() == Credentials("key", "secret")


def test_nothing_found_says_what_to_do(bare: pytest.MonkeyPatch) -> None:
    chain = source()

    assert chain is not None
    with pytest.raises(CredentialsRejected, match="no AWS credentials") as caught:
        chain()
    assert caught.value.hint == NOTHING_FOUND


def test_a_profile_that_does_not_exist_is_an_error_of_ours(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("AWS_PROFILE", "nobody")
    chain = source()

    assert chain is not None
    with pytest.raises(CredentialsRejected, match="ProfileNotFound"):
        chain()


def test_static_credentials_stay_the_same_object() -> None:
    clock = Clock()
    chain = ChainCredentials(lambda: BotocoreCredentials("key", "secret"), clock)
    first = chain()
    clock.now = 100.0

    assert chain() is first


def test_temporary_credentials_are_renewed() -> None:
    role, clock = Role(), Clock()
    chain = ChainCredentials(role.resolve, clock)
    first = chain()
    assert chain() is first
    clock.now = 1.5

    assert chain() != first
    assert chain().token == f"token-{role.asked}"


def test_a_failed_renewal_is_told_and_not_repeated_for_every_request() -> None:
    role, clock = Role(), Clock()
    chain = ChainCredentials(role.resolve, clock)
    chain()
    role.fails, clock.now = True, 1.5
    with pytest.raises(CredentialsRejected) as caught:
        chain()
    asked = role.asked

    for _ in range(5):
        with pytest.raises(CredentialsRejected):
            chain()

    assert role.asked == asked
    assert "hush" not in str(caught.value) and caught.value.hint
    role.fails, clock.now = False, 3.0
    assert chain().access_key.startswith("key-")


def test_credentials_that_appear_later_are_found() -> None:
    clock, found = Clock(), [None, BotocoreCredentials("key", "secret")]
    chain = ChainCredentials(lambda: found.pop(0), clock)
    with pytest.raises(CredentialsRejected):
        chain()
    clock.now = 1.5

    assert chain() == Credentials("key", "secret")


def test_a_session_that_another_program_renewed_is_read_anew_once_refused(
    bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (
        "[default]\naws_access_key_id = {0}\naws_secret_access_key = s\naws_session_token = {0}\n"
    )
    (tmp_path / "credentials").write_text(text.format("old"))
    clock = Clock()
    chain = ChainCredentials(lambda: Session().get_credentials(), clock)
    assert chain().token == "old"
    (tmp_path / "credentials").write_text(text.format("new"))
    clock.now = 1.5
    assert chain().token == "old"

    assert chain.renew()

    assert chain().token == "new"


def test_a_burst_of_refusals_begins_the_chain_anew_once() -> None:
    clock, asked = Clock(), list[float]()

    def resolve() -> BotocoreCredentials:
        asked.append(clock.now)
        return BotocoreCredentials("key", "secret", "token")

    chain = ChainCredentials(resolve, clock)
    chain()
    for moment in (0.5, 100.0, 100.0, 100.5, 200.0):
        clock.now = moment
        assert chain.renew()
        chain()

    assert asked == [0.0, 100.0, 200.0]


def test_given_keys_cannot_be_renewed() -> None:
    given = source("key", "secret")

    assert given is not None and not given.renew()


def test_a_named_profile_is_read_from_the_shared_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    shared = tmp_path / "credentials"
    shared.write_text(
        "[default]\naws_access_key_id = d\naws_secret_access_key = d\n"
        "[backup]\naws_access_key_id = b\naws_secret_access_key = s\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(shared))
    chain = source(profile="backup")
    assert chain is not None and chain().access_key == "b"
    missing = source(profile="nobody")
    assert missing is not None
    with pytest.raises(CredentialsRejected):
        missing()
