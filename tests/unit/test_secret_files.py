"""Secrets in files: read at the start, some of them again whenever they change."""

from collections.abc import Callable
from pathlib import Path

import pytest

from datasync.config.loading import load_settings
from datasync.config.settings import SECRET_FILES
from datasync.config.watched import LOOK_SECONDS, Watched
from datasync.errors import ConfigurationError
from tests.support.clocks import StandingClock
from tests.support.command_line import use_settings


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_settings(monkeypatch, tmp_path, S3_BUCKET_NAME="my-bucket")


def written(folder: Path, text: str) -> str:
    path = folder / "secret"
    path.write_text(text)
    return str(path)


def test_every_secret_can_be_in_a_file() -> None:
    secret = set(name.removesuffix("_file") for name in SECRET_FILES)
    assert secret == {
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "api_keys",
        "notification_secret",
        "database_url",
    }


def test_a_file_is_as_good_as_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFICATION_SECRET_FILE", written(tmp_path, "hush hush\n"))
    secret = load_settings().notification_secret
    assert secret is not None and secret.get_secret_value() == "hush hush"


def test_the_file_may_be_named_in_the_env_file(tmp_path: Path) -> None:
    name = written(tmp_path, "sqlite:////data/ledger.db\n")
    Path(".env").write_text(f"DATABASE_URL_FILE={name}\n")
    assert load_settings().ledger_url() == "sqlite:////data/ledger.db"


def test_keys_stand_in_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "# for the graphs\ngrafana:first:read\n\nci:second:notify,ops:third:operate\n"
    monkeypatch.setenv("API_KEYS_FILE", written(tmp_path, text))
    settings = load_settings()
    assert [key.name for key in settings.access_keys] == ["grafana", "ci", "ops"]
    assert set(settings.secret_values()) >= {"first", "second", "third"}
    assert settings.redacted()["api_keys"] == "set"


@pytest.mark.parametrize("name", SECRET_FILES)
def test_a_secret_is_given_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variable = name.removesuffix("_file").upper()
    monkeypatch.setenv(variable, "sqlite:///x")
    monkeypatch.setenv(name.upper(), written(tmp_path, "sqlite:///y"))
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert f"{variable} and {name.upper()} are both set" in str(caught.value)


@pytest.mark.parametrize(
    "make, problem",
    [
        (lambda path: None, "cannot be read: No such file"),
        (lambda path: path.mkdir(), "cannot be read: Is a directory"),
        (lambda path: path.write_text(" \n"), "is empty"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is no text"),
    ],
)
def test_a_file_that_gives_no_secret_is_one_line(
    make: Callable[[Path], object],
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "keys"
    make(path)
    monkeypatch.setenv("API_KEYS_FILE", str(path))
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    line = str(caught.value)
    assert line.startswith("API_KEYS_FILE names a file that") and problem in line
    assert line.endswith("Example: API_KEYS_FILE=/run/secrets/api_keys")
    assert "\n" not in line


def test_a_bad_key_in_a_file_is_told_without_its_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEYS_FILE", written(tmp_path, "ci:very-secret:root"))
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert "entry 1 is not" in str(caught.value)
    assert "very-secret" not in str(caught.value)


class Clock(StandingClock):
    def look(self, watched: Watched[str], times: int = 2) -> str:
        """The value after so many further looks."""
        for _ in range(times):
            self.now += LOOK_SECONDS
            value = watched()
        return value


def read(text: str) -> str:
    if not text or "bad" in text:
        raise ValueError("is bad")
    return text.strip()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "watched"
    path.write_text("first")
    return path


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


@pytest.fixture
def watched(path: Path, clock: Clock) -> Watched[str]:
    watched = Watched("API_KEYS_FILE", path, read, "first", clock=clock)
    assert clock.look(watched) == "first"
    return watched


def test_a_change_is_taken_once_it_has_settled(
    path: Path, clock: Clock, watched: Watched[str]
) -> None:
    path.write_text("sec")
    assert clock.look(watched, 1) == "first"  # it may be half written
    path.write_text("second")
    assert clock.look(watched, 1) == "first"
    assert clock.look(watched, 1) == "second"


def test_it_is_looked_at_once_a_second(path: Path, clock: Clock, watched: Watched[str]) -> None:
    path.write_text("second")
    for _ in range(10):
        clock.now += LOOK_SECONDS / 100
        assert watched() == "first"


def test_a_file_that_could_not_be_read_is_read_once_it_can(
    path: Path, clock: Clock, watched: Watched[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rights are mended, and nothing else of it changes."""

    def refused(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    path.write_text("second")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_text", refused)
        assert clock.look(watched, 3) == "first"
    assert clock.look(watched) == "second"


@pytest.mark.parametrize("text", ["bad", "", "\udcff"])
def test_what_is_bad_changes_nothing_until_it_is_good_again(
    text: str, path: Path, clock: Clock, watched: Watched[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text(text, errors="surrogateescape")
    assert clock.look(watched, 5) == "first"
    assert capsys.readouterr().err.count("cannot be used") == 1
    path.write_text("third")
    assert clock.look(watched) == "third"


def test_a_file_that_is_replaced_or_gone_for_a_while(
    path: Path, clock: Clock, watched: Watched[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path.unlink()
    assert clock.look(watched, 5) == "first"
    assert capsys.readouterr().err.count("No such file") == 1
    other = path.with_name("other")
    other.write_text("fresh")
    path.symlink_to(other)
    assert clock.look(watched) == "fresh"
