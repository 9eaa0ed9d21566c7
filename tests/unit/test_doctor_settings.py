"""What the doctor finds of settings and credentials; no secret is ever shown."""

from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import CredentialRetrievalError

from datasync.config.loading import load_settings
from datasync.config.settings import Settings
from datasync.doctor.findings import Level
from datasync.doctor.rounds import looked
from datasync.doctor.settings_checks import (
    look_at_access,
    look_at_credentials,
    look_at_log_file,
    look_at_settings,
)
from tests.support.command_line import use_settings

SECRET = "wJalrXUtnFEMI/K7MDENG"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use_settings(monkeypatch, tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def settings(**given: Any) -> Settings:
    return load_settings(**given)


def test_what_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = look_at_settings(settings(s3_prefix="in/"))
    assert finding.level is Level.PASS
    assert finding.found.startswith("bucket 'datasync-demo', keys below 'in/', into ")


def test_variables_that_were_probably_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_PREFIXES", "in/")
    monkeypatch.setenv("API_KEY", "k")
    finding = look_at_settings(settings())
    assert finding.level is Level.WARN
    assert "did you mean S3_PREFIX?" in finding.found
    assert "did you mean API_KEYS?" in finding.found


@pytest.mark.parametrize(
    "given, level",
    [
        ({}, "warn"),
        ({"api_host": "10.0.0.7"}, "warn"),
        ({"api_host": "127.0.0.1"}, "pass"),
        ({"api_host": "::1"}, "pass"),
        ({"api_host": "localhost"}, "pass"),
        ({"api_keys": "ci:a-secret-that-is-long:read"}, "pass"),
        ({"notification_secret": SECRET}, "pass"),
        ({"sqs_queue_url": "https://sqs.eu-west-1.amazonaws.com/123456789012/q"}, "pass"),
        ({"sns_topic_arns": "arn:aws:sns:eu-west-1:123456789012:t"}, "pass"),
    ],
)
def test_who_is_let_in(given: dict[str, str], level: str) -> None:
    finding = look_at_access(settings(**given))
    assert finding.level == level
    assert ("Lambda" in finding.found) == (level == "warn")


def test_no_log_file() -> None:
    assert look_at_log_file(settings().model_copy(update={"log_file": None})).level is Level.PASS


# -- credentials ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, words",
    [
        ({"aws_no_sign_request": True}, "public bucket"),
        ({"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": SECRET}, "keys in the"),
        (
            {
                "aws_access_key_id": "ASIAEXAMPLE",
                "aws_secret_access_key": SECRET,
                "aws_session_token": "token" * 9,
            },
            "temporary keys in the",
        ),
    ],
)
def test_credentials_of_the_settings(given: dict[str, Any], words: str) -> None:
    finding = look_at_credentials(settings(**given))
    assert finding.level is Level.PASS
    assert words in finding.found
    assert SECRET not in finding.found and "AKIAEXAMPLE" not in finding.found


@pytest.mark.parametrize("profile", [None, "backup"])
def test_credentials_of_a_file(tmp_path: Path, profile: str | None) -> None:
    name = profile or "default"
    text = f"[{name}]\naws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = {SECRET}\n"
    (tmp_path / "credentials").write_text(text)
    finding = look_at_credentials(settings(aws_profile=profile))
    assert finding.level is Level.PASS
    assert finding.found.startswith("from the shared credentials file")
    assert (f"profile {profile!r}" in finding.found) == (profile is not None)
    assert SECRET not in finding.found


@pytest.mark.parametrize("method", ["iam-role", "container-role", "something-new"])
def test_credentials_of_a_role(method: str) -> None:
    finding = look_at_credentials(settings(), lambda _: Credentials("AKIA", SECRET, method=method))
    assert finding.level is Level.PASS
    assert "role of" in finding.found or method in finding.found


def test_no_credentials_at_all() -> None:
    finding = looked(lambda: look_at_credentials(settings()))
    assert finding.level is Level.FAIL
    assert finding.found == "no AWS credentials found"
    assert "AWS_NO_SIGN_REQUEST" in finding.advice


def test_a_profile_that_is_not_there() -> None:
    finding = looked(lambda: look_at_credentials(settings(aws_profile="nowhere")))
    assert finding.level is Level.FAIL
    assert "no profile 'nowhere'" in finding.found
    assert finding.advice == "Correct AWS_PROFILE."


def test_what_a_source_of_credentials_says_is_not_repeated() -> None:
    def process(_profile: str | None) -> Credentials | None:
        raise CredentialRetrievalError(provider="custom-process", error_msg=f"got {SECRET}")

    finding = looked(lambda: look_at_credentials(settings(), process))
    assert finding.level is Level.FAIL
    assert "CredentialRetrievalError" in finding.found
    assert SECRET not in finding.found + finding.advice


def test_a_key_that_can_be_guessed_is_told_by_its_name() -> None:
    given = "look:a-secret-that-is-long:read,ops:short:operate"
    finding = look_at_access(settings(api_keys=given))
    assert (finding.level, "datasync keys new" in finding.advice) == (Level.WARN, True)
    assert "look (read), ops (operate); short enough to be guessed: ops" in finding.found
