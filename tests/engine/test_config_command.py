"""`datasync config`: whether the settings are good, and which are in effect."""

from pathlib import Path

import pytest

from datasync.config.loading import load_settings
from datasync.config.settings import Settings
from tests.support.command_line import CommandLine


def test_good_settings_are_said_to_be(command_line: CommandLine) -> None:
    checked = command_line("config", "check")
    assert checked.code == 0 and checked.out.startswith("The settings are good.\n")
    assert "bucket\ts3://datasync-demo/" in checked.out
    assert command_line("config", "check", "--json").json["good"] is True


def test_each_bad_one_has_its_line(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_PORT", "http")
    monkeypatch.setenv("DURABILITY", "some")
    refused = command_line("config", "check")
    assert refused.code == 2 and refused.out == ""
    assert "API_PORT must be a whole number" in refused.err
    assert "DURABILITY" in refused.err


def test_nearly_a_setting_is_a_warning(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "x")
    assert "did you mean API_KEYS?" in command_line("config", "check").err


def test_a_propagator_that_is_not_there_is_one_line(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_PROPAGATORS", "tracecontext, b3")
    refused = command_line("config", "check")
    assert refused.code == 2
    assert "OTEL_PROPAGATORS must be of baggage, none, tracecontext, not 'b3'" in refused.err
    monkeypatch.setenv("OTEL_PROPAGATORS", "tracecontext, baggage")
    assert command_line("config", "check").code == 0
    monkeypatch.delenv("OTEL_PROPAGATORS")
    Path(".env").write_text("OTEL_PROPAGATORS=jaeger\n")
    assert "not 'jaeger'" in command_line("config", "check").err


def test_what_is_missing_may_have_another_name(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("S3_BUCKET_NAME")
    monkeypatch.setenv("S3_BUCKET", "x")
    monkeypatch.setenv("API_KEY", "x")

    refused = command_line("config", "check")

    assert refused.code == 2
    assert "S3_BUCKET_NAME is required" in refused.err
    assert "did you mean S3_BUCKET_NAME?" in refused.err and "API_KEYS" not in refused.err


def test_where_traces_go_is_told_and_what_is_wrong_with_them(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "traces\t" not in command_line("config", "check").out
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "coin")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hush-hush")
    checked = command_line("config", "check")
    assert checked.code == 0 and "traces\thttp://127.0.0.1:4318/v1/traces" in checked.out
    assert "warning: OTEL_TRACES_SAMPLER: " in checked.err
    assert "hush" not in command_line("config", "show").out + checked.out + checked.err
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    refused = command_line("config", "check")
    assert refused.code == 2 and "OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf" in refused.err


def test_nothing_is_made(command_line: CommandLine) -> None:
    command_line("config", "check")
    command_line("config", "show")
    assert not command_line.root.exists()


def test_the_effective_settings_are_shown_without_secrets(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFICATION_SECRET", "hush-hush")
    monkeypatch.setenv("SNS_TOPIC_ARNS", "")
    shown = command_line("config", "show")
    assert "NOTIFICATION_SECRET\tset\t" in shown.out
    assert "SYNC_INTERVAL_HOURS\t1.0\tHours between two comparisons." in shown.out
    assert "hush-hush" not in shown.out
    document = command_line("config", "show", "--json").json
    assert (document["verify_file_integrity"], document["api_keys"]) == (True, None)


def test_what_was_changed_can_be_seen_alone(
    command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `cp .env.example .env`, which gives many their defaults."""
    monkeypatch.setenv("API_PORT", "9999")
    monkeypatch.setenv("RETRY_ATTEMPTS", "3")
    assert load_settings().retry_attempts == Settings.model_fields["retry_attempts"].default
    shown = command_line("config", "show", "--changed", "--json").json
    assert shown["api_port"] == 9999
    assert "retry_attempts" not in shown
