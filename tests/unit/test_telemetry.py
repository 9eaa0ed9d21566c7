"""Which variables switch traces on, what is said of bad ones, and that off loads nothing."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasync.app import places
from datasync.config.loading import load_settings, unknown_variables
from datasync.config.settings import Settings
from datasync.errors import ConfigurationError
from datasync.telemetry import check_tracer, tracer_of
from datasync.tracing.port import OFF, ids_of
from datasync.tracing.otel import secrets_of
from datasync.utils.logger import close_logging, configure_logging, masked, names_a_secret
from tests.support.collector import Collector
from tests.support.tracing import TRACE, TRACEPARENT

ROOT = Path(__file__).resolve().parents[2]
URL = "http://127.0.0.1:4318"


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith(("OTEL_", "AWS_", "S3_", "API_", "LOG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("S3_BUCKET_NAME", "my-bucket")
    monkeypatch.chdir(tmp_path)
    before = set(os.environ)
    yield
    for name in set(os.environ) - before:  # what `.env` brought
        del os.environ[name]
    close_logging()


def settings(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load_settings()


class TestSwitch:
    @pytest.mark.parametrize(
        ("variables", "traces"),
        [
            ({}, None),
            ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp"),
            ({"OTEL_TRACES_EXPORTER": "OTLP"}, "otlp"),
            ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
            ({"OTEL_TRACES_EXPORTER": "none"}, None),
            ({"OTEL_TRACES_EXPORTER": ""}, None),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL}, "otlp"),
            ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{URL}/v1/traces"}, "otlp"),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_TRACES_EXPORTER": "none"}, None),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_SDK_DISABLED": "true"}, None),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_SDK_DISABLED": "false"}, "otlp"),
            ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": URL}, None),
            ({"OTEL_SERVICE_NAME": "mirror"}, None),
        ],
    )
    def test_traces_are_on_when_they_are_asked_for(
        self, variables: dict[str, str], traces: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert settings(monkeypatch, **variables).traces == traces

    @pytest.mark.parametrize(
        ("variables", "endpoint"),
        [
            ({"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318/v1/traces"),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL}, f"{URL}/v1/traces"),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": f"{URL}/otlp/"}, f"{URL}/otlp/v1/traces"),
            ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{URL}/t"}, f"{URL}/t"),
        ],
    )
    def test_where_they_go_follows_the_rules_of_otlp(
        self, variables: dict[str, str], endpoint: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = settings(monkeypatch, **variables)
        assert places(found)["traces"] == found.traces_endpoint == endpoint

    def test_off_is_one_tracer_for_all(self) -> None:
        assert tracer_of(load_settings()) is OFF
        assert "traces" not in places(load_settings())

    @pytest.mark.parametrize(
        ("name", "value", "words"),
        [
            ("OTEL_TRACES_EXPORTER", "jaeger", "must be 'otlp', 'console' or 'none', not 'jaeger'"),
            ("OTEL_SDK_DISABLED", "perhaps", "must be true or false, not 'perhaps'"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "must begin with http://"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:b", "must be a URL such as"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:hush@host", "must hold no credentials"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://h/?key=hush", "must hold no credential"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://h/ö", "plain ASCII"),
        ],
    )
    def test_a_bad_one_is_one_line(
        self, name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(ConfigurationError) as caught:
            settings(monkeypatch, **{name: value})
        (line,) = str(caught.value).splitlines()
        assert line.startswith(name) and words in line and f"Example: {name}=" in line
        assert "hush" not in line

    def test_variables_of_the_standard_are_not_taken_for_mistakes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", URL)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", URL)
        assert unknown_variables() == []
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPONT", URL)
        assert "did you mean OTEL_EXPORTER_OTLP_ENDPOINT?" in unknown_variables()[0]


class TestTheSdksOwn:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "3"),
            ("OTEL_BSP_SCHEDULE_DELAY", "-1"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ],
    )
    def test_what_it_refuses_stops_the_start(
        self, name: str, value: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given = settings(monkeypatch, OTEL_EXPORTER_OTLP_ENDPOINT=URL, **{name: value})
        for ask in (tracer_of, check_tracer):
            with pytest.raises(ConfigurationError, match=rf"^{name}\b[^\n]*$"):
                ask(given)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("OTEL_TRACES_SAMPLER", "coin"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
            ("OTEL_RESOURCE_ATTRIBUTES", "nonsense"),
        ],
    )
    def test_what_it_does_without_is_a_warning(
        self, name: str, value: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given = settings(monkeypatch, OTEL_EXPORTER_OTLP_ENDPOINT=URL, **{name: value})
        (warning,) = check_tracer(given)
        assert warning.startswith(f"{name}: ") and "\n" not in warning

    def test_it_is_heard_whatever_is_logged(self, monkeypatch: pytest.MonkeyPatch) -> None:
        given = settings(
            monkeypatch, OTEL_EXPORTER_OTLP_ENDPOINT=URL, OTEL_RESOURCE_ATTRIBUTES="nonsense"
        )
        configure_logging("CRITICAL")
        try:
            assert len(check_tracer(given)) == 1
        finally:
            close_logging()

    def test_the_headers_are_shown_nowhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        headers = {"OTEL_EXPORTER_OTLP_HEADERS": "hush hush"}
        given = settings(monkeypatch, OTEL_EXPORTER_OTLP_ENDPOINT=URL, **headers)
        assert not [text for text in check_tracer(given) if "hush" in text]
        assert "hush" not in str(given.redacted()) + repr(given)
        assert masked("authorization=hush hush") == "authorization=[redacted]"

    def test_those_of_the_env_file_reach_it(
        self, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path(".env").write_text(
            f"OTEL_EXPORTER_OTLP_ENDPOINT={collector.endpoint}\n"
            "OTEL_SERVICE_NAME=of the file\nOTEL_RESOURCE_ATTRIBUTES=team=a,rack=of the file\n"
        )
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=b")
        tracer = tracer_of(load_settings())
        tracer.begin("work").end()
        tracer.close(10)
        (span,) = collector.spans()
        assert span.resource["service.name"] == "of the file"
        assert span.resource["team"] == "b" and "rack" not in span.resource

    def test_the_console_is_stderr(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tracer = tracer_of(settings(monkeypatch, OTEL_TRACES_EXPORTER="console"))
        tracer.begin("work").end()
        tracer.close(10)
        said = capsys.readouterr()
        assert '"name": "work"' in said.err and said.out == ""

    def test_a_sampler_is_the_sdks(
        self, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        variables = {"OTEL_TRACES_SAMPLER": "always_off"}
        variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.endpoint
        tracer = tracer_of(settings(monkeypatch, **variables))
        span = tracer.begin("work")
        assert not span.wanted
        span.end()
        tracer.close(10)
        assert collector.spans() == []


@pytest.mark.parametrize("text", ["", "nonsense", "00-x-y-z", f"00-{TRACE}-01", "a-b-c-d-e"])
def test_a_context_that_is_none_begins_a_trace(
    text: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings(monkeypatch, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint)
    tracer = tracer_of(given)
    span = tracer.begin("work", parent=text)
    tracer.close(10)
    assert span.wanted and TRACE not in span.traceparent


def test_the_ids_of_a_context() -> None:
    assert ids_of(None) == ids_of("") == {}
    assert ids_of(TRACEPARENT) == {"trace_id": TRACE, "span_id": "00f067aa0ba902b7"}


def test_off_does_nothing_and_says_so() -> None:
    span = OFF.begin("work", parent=TRACEPARENT)
    span.end({"a": 1}, error="none")
    OFF.close(1)
    assert (OFF.on, span.wanted, span.traceparent, OFF.caller({})) == (False, False, "", None)


def loaded(code: str, **variables: str) -> set[str]:
    """The modules of OpenTelemetry and its company after this code, in a process of its own."""
    ask = "import sys; print('\\n'.join(sys.modules))"
    environment: dict[str, Any] = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{ask}"],
        env=environment | {"S3_BUCKET_NAME": "my-bucket", "LOG_FILE": ""} | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    names = ("opentelemetry", "google", "requests", "datasync.tracing.otel")
    return {line for line in done.stdout.splitlines() if line.startswith(names)}


COMMAND = """
import datasync.cli.entry, datasync.cli.run_commands, datasync.cli.here, datasync.cli.conductor
from datasync.config.loading import load_settings
from datasync.composition import compose
compose(load_settings()).close()
"""
SERVICE = "import asyncio, server\n" + COMMAND


class TestNothingIsLoaded:
    def test_by_a_command(self) -> None:
        assert loaded(COMMAND) == set()

    def test_by_the_service_but_what_fastapi_brings(self) -> None:
        ours = {
            name
            for name in loaded(SERVICE)
            if not name.startswith("opentelemetry") or name.startswith("opentelemetry.sdk.trace")
        }
        assert ours == set()
        assert not {n for n in loaded(SERVICE) if n.startswith("opentelemetry.exporter")}

    def test_by_a_command_that_traces_nothing(self) -> None:
        quiet = COMMAND.replace(
            "compose(load_settings())", "compose(load_settings(), traced=False)"
        )
        assert loaded(quiet, OTEL_EXPORTER_OTLP_ENDPOINT=URL) == set()

    def test_and_the_question_would_see_it(self) -> None:
        assert "opentelemetry.sdk.trace" in loaded(COMMAND, OTEL_EXPORTER_OTLP_ENDPOINT=URL)


def test_only_what_is_a_token_is_masked_of_the_headers() -> None:
    headers = "x-scope-orgid=main,authorization=Basic%20abc,x-honeycomb-team=0123456789abcdef"
    found = secrets_of({"OTEL_EXPORTER_OTLP_HEADERS": headers}, names_a_secret)
    assert {headers, "Basic abc", "0123456789abcdef"} <= set(found) and "main" not in found
