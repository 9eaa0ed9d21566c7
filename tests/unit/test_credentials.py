"""Credentials: given keys, botocore's chain, renewal without a restart, failures with a hint."""

import datetime
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.credentials import RefreshableCredentials
from botocore.session import Session

from datasync.errors import CredentialsOutdated, CredentialsRejected
from datasync.models.sync_models import ObjectRequest
from datasync.services.storage.bucket import S3Bucket
from datasync.services.storage.s3.credentials import NOTHING_FOUND, ChainCredentials, source
from datasync.services.storage.s3.endpoint import S3Config
from datasync.services.storage.s3.signing import Credentials
from tests.support.clocks import StandingClock
from tests.support.receivers import fetch
from tests.support.threads import no_threads
from tests.support.world import eventually


class Role:
    """A role server that gives a new set each time it is asked, by a clock of its own.

    A set lasts an hour; botocore begins to renew it in its last quarter.
    """

    def __init__(self) -> None:
        self.now = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)
        self.asked = 0
        self.fails = False
        self.free = threading.Event()  # it answers only while this is set
        self.free.set()
        self.waiting = threading.Event()
        self._lasts = datetime.timedelta(hours=1)

    def metadata(self) -> dict[str, str]:
        self.asked += 1
        self.waiting.set()
        assert self.free.wait(30)
        if self.fails:
            raise ConnectionError("no role server at 169.254.169.254 for hush-key")
        return {
            "access_key": f"key-{self.asked}",
            "secret_key": "hush",
            "token": f"token-{self.asked}",
            "expiry_time": (self.now + self._lasts).isoformat(),
        }

    def resolve(self) -> RefreshableCredentials:
        first = self.metadata()
        return RefreshableCredentials(
            first["access_key"],
            first["secret_key"],
            first["token"],
            self.now + self._lasts,
            self.metadata,
            "test",
            lambda: self.now,
        )

    def hang(self) -> None:
        self.free.clear()
        self.waiting.clear()

    def pass_minutes(self, minutes: float) -> None:
        self.now += datetime.timedelta(minutes=minutes)


@pytest.fixture
def role() -> Iterator[Role]:
    role = Role()
    yield role
    role.free.set()


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
    clock = StandingClock()
    chain = ChainCredentials(lambda: BotocoreCredentials("key", "secret"), clock)
    first = chain()
    clock.now = 100.0

    assert chain() is first


def test_a_chain_that_no_thread_can_be_had_for_is_asked_again(
    role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = StandingClock()
    chain = ChainCredentials(role.resolve, clock)
    with no_threads(monkeypatch, "credentials"):
        with pytest.raises(CredentialsOutdated, match="can't start new thread"):
            chain()
        clock.now = 1.5
        with pytest.raises(CredentialsOutdated, match="can't start new thread"):
            chain()
    clock.now = 3.0
    assert chain().token == "token-1"


def test_temporary_credentials_are_renewed(role: Role) -> None:
    clock = StandingClock()
    chain = ChainCredentials(role.resolve, clock)
    first = chain()
    clock.now = 1.5
    assert chain() is first and role.asked == 1
    role.pass_minutes(52)
    clock.now = 3.0

    eventually(lambda: chain() != first)

    assert chain().token == f"token-{role.asked}"


def test_a_renewal_that_hangs_holds_up_nobody_while_the_old_set_is_valid(role: Role) -> None:
    clock = StandingClock()
    chain = ChainCredentials(role.resolve, clock)
    first = chain()
    role.hang()
    role.pass_minutes(52)
    for moment in (1.5, 3.0, 30.0):
        clock.now = moment
        assert chain(0.0) is first
    assert role.waiting.wait(10) and role.asked == 2

    role.free.set()

    eventually(lambda: chain(0.0).token == "token-2")


def test_a_renewal_that_hangs_until_the_old_set_is_over_is_waited_for_only_so_long(
    role: Role,
) -> None:
    clock = StandingClock()
    chain = ChainCredentials(role.resolve, clock)
    first = chain()
    role.hang()
    role.pass_minutes(52)
    clock.now = 1.5
    assert chain() is first
    role.pass_minutes(9)

    with pytest.raises(CredentialsOutdated, match="within 0.05 seconds") as caught:
        chain(0.05)
    clock.now = 100.0  # asked for long: nobody else has to wait as well
    with pytest.raises(CredentialsOutdated):
        chain(90.0)

    assert caught.value.retryable
    role.free.set()
    assert chain(100.0).token == "token-2"


def test_a_refused_set_is_not_used_while_its_renewal_hangs(role: Role) -> None:
    clock = StandingClock()
    chain = ChainCredentials(role.resolve, clock)
    first = chain()
    role.hang()
    role.pass_minutes(52)
    clock.now = 1.5
    assert chain() is first and role.waiting.wait(10)

    assert chain.renew()

    with pytest.raises(CredentialsOutdated):
        chain(0.0)
    role.free.set()
    assert chain(30.0).token == "token-2"


def test_a_chain_that_hangs_at_the_start_is_waited_for_only_so_long(role: Role) -> None:
    chain = ChainCredentials(role.resolve, StandingClock())
    role.hang()

    with pytest.raises(CredentialsOutdated):
        chain(0.05)

    role.free.set()
    assert chain(30.0).token == "token-1"
    assert role.asked == 1


def test_a_check_keeps_its_time_although_the_chain_hangs(role: Role) -> None:
    chain = ChainCredentials(role.resolve)
    bucket = S3Bucket(S3Config("bucket", endpoint_url="http://127.0.0.1:9", credentials=chain))
    role.hang()
    began = time.monotonic()

    with pytest.raises(CredentialsOutdated, match="within 0.1 seconds"):
        bucket.check(0.1)

    assert time.monotonic() - began < 5
    bucket.close()


@pytest.mark.parametrize(
    "odd",
    [
        BotocoreCredentials("AKIA\u2013X", "hush"),
        BotocoreCredentials("AKIA", "hush", "token\u00e9"),
        BotocoreCredentials("AKIA\nX-Evil: y", "hush"),
        BotocoreCredentials("AKIA", "hush\udc80"),
    ],
)
def test_credentials_that_no_header_can_carry_are_rejected(odd: BotocoreCredentials) -> None:
    chain = ChainCredentials(lambda: odd)
    bucket = S3Bucket(S3Config("bucket", endpoint_url="http://127.0.0.1:9", credentials=chain))

    answer, _ = fetch(bucket, ObjectRequest("a"))
    with pytest.raises(CredentialsRejected, match="characters") as caught:
        bucket.check(5.0)

    assert type(answer.error) is CredentialsRejected
    assert "hush" not in str(caught.value) and "AKIA" not in str(caught.value)
    bucket.close()


def test_a_failed_renewal_is_told_once_the_old_set_is_over_and_not_for_every_request(
    role: Role,
) -> None:
    clock = StandingClock()
    chain = ChainCredentials(role.resolve, clock)
    first = chain()
    role.fails, clock.now = True, 1.5
    role.pass_minutes(55)
    assert chain() is first
    eventually(lambda: "credentials" not in {thread.name for thread in threading.enumerate()})
    assert role.asked == 2
    assert chain() is first

    role.pass_minutes(6)
    clock.now = 3.0
    with pytest.raises(CredentialsRejected) as caught:
        chain()
    asked = role.asked
    for _ in range(5):
        with pytest.raises(CredentialsRejected):
            chain()

    assert role.asked == asked
    assert "hush" not in str(caught.value) and caught.value.hint
    role.fails, clock.now = False, 4.5
    assert chain().access_key.startswith("key-")


def test_credentials_that_appear_later_are_found() -> None:
    clock, found = StandingClock(), [None, BotocoreCredentials("key", "secret")]
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
    clock = StandingClock()
    chain = ChainCredentials(lambda: Session().get_credentials(), clock)
    assert chain().token == "old"
    (tmp_path / "credentials").write_text(text.format("new"))
    clock.now = 1.5
    assert chain().token == "old"

    assert chain.renew()

    assert chain().token == "new"


def test_a_burst_of_refusals_begins_the_chain_anew_once() -> None:
    clock, asked = StandingClock(), list[float]()

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
