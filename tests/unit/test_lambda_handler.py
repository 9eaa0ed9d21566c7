"""The Lambda forwarder: what it sends, what it refuses, what it writes, what it is made of."""

import ast
import hashlib
import hmac
import json
import sys
from types import ModuleType
from typing import Any

import pytest

from tests.support.forwarding import (
    EVENTBRIDGE_EVENT,
    S3_EVENT,
    SNS_EVENT,
    SOURCE,
    TEST_EVENT,
    Clock,
    Context,
    accept,
    batch,
    load_handler,
    message,
    refuse,
)
from tests.support.scripted_server import ScriptedServer, answer

PATH = "/sync/s3-notification"


class TestDelivery:
    @pytest.mark.parametrize(
        ("event", "records"),
        [(S3_EVENT, 1), (SNS_EVENT, 1), (EVENTBRIDGE_EVENT, 1), (TEST_EVENT, 0)],
        ids=["s3", "sns", "eventbridge", "test"],
    )
    def test_the_event_arrives_as_it_came(
        self, event: Any, records: int, handler: ModuleType, service: ScriptedServer
    ) -> None:
        answered = handler.lambda_handler(event, Context())
        assert answered == {"statusCode": 202, "records": records, "attempts": 1}
        (seen,) = service.requests
        assert (seen.method, seen.target) == ("POST", PATH)
        assert json.loads(seen.body) == event
        assert seen.headers["content-type"] == "application/json"
        assert not {"x-api-key", "x-datasync-signature"} & set(seen.headers)

    def test_a_batch_arrives_as_it_came(self, handler: ModuleType, service: ScriptedServer) -> None:
        event = batch(message("one"), message("two"))
        assert handler.lambda_handler(event, Context()) == {"batchItemFailures": []}
        assert [json.loads(seen.body) for seen in service.requests] == [event]

    def test_what_stands_beside_the_records_goes_with_them(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        event: Any = {"requestId": "r", "Records": [1, None, "x", {}]}
        handler.lambda_handler(event, Context())
        assert json.loads(service.requests[0].body) == event

    def test_half_a_character_does_not_stop_an_event(
        self, handler: ModuleType, service: ScriptedServer
    ) -> None:
        event = {"Records": [{"s3": {"object": {"key": "\ud800"}}}]}
        handler.lambda_handler(event, Context())
        assert json.loads(service.requests[0].body) == event

    @pytest.mark.parametrize("ending", ["", "/", "//", PATH, PATH + "/"])
    def test_the_base_url_may_end_as_people_write_it(
        self,
        ending: str,
        handler: ModuleType,
        service: ScriptedServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("API_ENDPOINT", f" {service.url}{ending}\n")
        handler.lambda_handler(S3_EVENT, Context())
        assert service.requests[0].target == PATH

    def test_a_base_path_is_kept(
        self, handler: ModuleType, service: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("API_ENDPOINT", service.url + "/team/datasync/")
        handler.lambda_handler(S3_EVENT, Context())
        assert service.requests[0].target == "/team/datasync" + PATH

    def test_proxy_variables_are_ignored(
        self, handler: ModuleType, service: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        handler.lambda_handler(S3_EVENT, Context())
        assert service.requests[0].target == PATH


class TestProof:
    def test_a_request_is_signed(
        self,
        handler: ModuleType,
        service: ScriptedServer,
        monkeypatch: pytest.MonkeyPatch,
        clock: Clock,
    ) -> None:
        monkeypatch.setenv("NOTIFICATION_SECRET", " hush \n")
        handler.lambda_handler(S3_EVENT, Context())
        (seen,) = service.requests
        stamp = seen.headers["x-datasync-timestamp"]
        assert 0 <= clock.time() - int(stamp) < 10
        signed = hmac.new(b"hush", stamp.encode() + b"." + seen.body, hashlib.sha256)
        assert seen.headers["x-datasync-signature"] == f"v1={signed.hexdigest()}"
        assert "x-api-key" not in seen.headers

    def test_each_try_is_signed_anew(
        self, handler: ModuleType, service: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NOTIFICATION_SECRET", "hush")
        service.script(refuse(503, Retry_After="5"), accept())
        handler.lambda_handler(S3_EVENT, Context())
        first, second = (seen.headers for seen in service.requests)
        assert int(second["x-datasync-timestamp"]) - int(first["x-datasync-timestamp"]) >= 5
        assert first["x-datasync-signature"] != second["x-datasync-signature"]

    def test_key_and_signature_go_together(
        self, handler: ModuleType, service: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("API_KEY", "hush-hush")
        monkeypatch.setenv("NOTIFICATION_SECRET", "secret")
        handler.lambda_handler(S3_EVENT, Context())
        headers = service.requests[0].headers
        assert headers["x-api-key"] == "hush-hush"
        assert headers["x-datasync-signature"].startswith("v1=")


class TestLog:
    def test_a_line_is_json_and_says_what_happened(
        self, handler: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        handler.lambda_handler(SNS_EVENT, Context())
        line = json.loads(capsys.readouterr().out)
        assert 0 <= line.pop("seconds") < 10
        assert line.pop("timestamp").endswith("Z")
        assert line == {
            "level": "INFO",
            "message": "delivered",
            "request_id": "request-1",
            "source": "sns",
            "records": 1,
            "status": 202,
            "attempts": 1,
        }

    def test_no_line_holds_keys_bodies_or_secrets(
        self,
        handler: ModuleType,
        service: ScriptedServer,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """Not even those of a server that shows the request in its error."""
        monkeypatch.setenv("API_KEY", "hush-hush")
        monkeypatch.setenv("NOTIFICATION_SECRET", "whisper")
        shown = "you sent X-API-Key: hush-hush and know whisper"
        service.script(accept(), refuse(503, shown), refuse(403, shown))
        handler.lambda_handler(S3_EVENT, Context())
        with pytest.raises(handler.Refused) as caught:
            handler.lambda_handler(S3_EVENT, Context())
        out, err = capsys.readouterr()
        written = out + err + str(caught.value)
        levels = [json.loads(line)["level"] for line in out.splitlines()]
        assert levels == ["INFO", "WARNING", "ERROR"]
        assert "answered 403: you sent X-API-Key: *** and know ***" in written
        assert not [word for word in ("hush", "whisper", "a+b%2Bc", "127.0.0.1") if word in written]

    def test_a_failure_before_any_request_is_a_line_too(
        self, handler: ModuleType, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(ValueError, match="no S3 event"):
            handler.lambda_handler({}, None)
        line = json.loads(capsys.readouterr().out)
        assert (line["level"], line["message"]) == ("ERROR", "delivery failed")
        assert "no S3 event" in line["reason"]


class TestRefusals:
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 415, 422])
    def test_what_no_retry_can_help_fails_at_once(
        self, status: int, handler: ModuleType, service: ScriptedServer, clock: Clock
    ) -> None:
        service.script(refuse(status), accept())
        with pytest.raises(handler.Refused, match=f"answered {status}: it is so"):
            handler.lambda_handler(S3_EVENT, Context())
        assert (len(service.requests), clock.pauses) == (1, [])

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_followed(
        self, status: int, handler: ModuleType, service: ScriptedServer
    ) -> None:
        service.script(answer(f"{status} Moved", Location=service.url + "/elsewhere"), accept())
        with pytest.raises(handler.Refused, match="redirect"):
            handler.lambda_handler(S3_EVENT, Context())
        assert [seen.target for seen in service.requests] == [PATH]

    @pytest.mark.parametrize("text", [b"", b"<html>no</html>", b"[1]", b'{"x": 1}', b"\xff\xfe"])
    def test_an_error_of_any_shape_is_told(
        self, text: bytes, handler: ModuleType, service: ScriptedServer
    ) -> None:
        service.script(answer("404 No", text))
        with pytest.raises(handler.Refused, match="^the service answered 404: "):
            handler.lambda_handler(S3_EVENT, Context())

    @pytest.mark.parametrize("event", [{}, {"Records": "x"}, [], None, "x", {"detail": {}}])
    def test_what_is_no_s3_event_is_not_sent(
        self, event: Any, handler: ModuleType, service: ScriptedServer
    ) -> None:
        with pytest.raises(ValueError, match="no S3 event"):
            handler.lambda_handler(event, Context())
        assert service.requests == []

    @pytest.mark.parametrize("event", [{"Records": []}, TEST_EVENT, EVENTBRIDGE_EVENT])
    def test_an_event_without_records_can_fail_as_well(
        self, event: Any, handler: ModuleType, service: ScriptedServer
    ) -> None:
        service.script(refuse(400))
        with pytest.raises(handler.Refused):
            handler.lambda_handler(event, Context())
        assert len(service.requests) == 1

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("API_ENDPOINT", ""),
            ("API_ENDPOINT", "host:8888"),
            ("API_ENDPOINT", "ftp://host"),
            ("API_ENDPOINT", "http://"),
            ("API_ENDPOINT", "http://me:hush@host"),
            ("API_ENDPOINT", "http://host/?key=hush"),
            ("API_ENDPOINT", "http://host/#hush"),
            ("API_ENDPOINT", "http://host/a b"),
            ("API_ENDPOINT", "http://host/ü"),
            ("API_ENDPOINT", "http://host:port"),
            ("API_ENDPOINT", "http://host:99999"),
            ("API_ENDPOINT", "http://[::1"),
            ("TIMEOUT_SECONDS", "soon"),
            ("TIMEOUT_SECONDS", "0"),
            ("TIMEOUT_SECONDS", "nan"),
            ("RETRY_ATTEMPTS", "0"),
            ("API_KEY", "hush\r\nX-Other: 1"),
            ("API_KEY", "hüsh"),
            ("NOTIFICATION_SECRET", "hu\tsh"),
        ],
    )
    def test_a_bad_variable_is_named_without_its_value(
        self,
        name: str,
        value: str,
        handler: ModuleType,
        service: ScriptedServer,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(ValueError, match=f"^{name} must") as caught:
            handler.lambda_handler(S3_EVENT, Context())
        assert not [word for word in ("hush", "hüsh", "hu\\tsh") if word in str(caught.value)]
        assert "hush" not in capsys.readouterr().out
        assert service.requests == []


class TestFile:
    def test_it_is_python_3_9(self) -> None:
        ast.parse(SOURCE.read_text(), feature_version=(3, 9))

    def test_it_needs_the_standard_library_only(self) -> None:
        nodes = list(ast.walk(ast.parse(SOURCE.read_text())))
        named = {
            alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names
        } | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        assert {name.partition(".")[0] for name in named} <= sys.stdlib_module_names

    def test_loading_it_reads_no_variable_and_opens_nothing(
        self, service: ScriptedServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("API_ENDPOINT", raising=False)
        assert load_handler()._kept == []
        assert service.connections == 0
