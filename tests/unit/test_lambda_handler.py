"""The Lambda forwarder against a real socket server that answers as each test says."""

import ast
import importlib.util
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "lambda" / "s3_lambda_handler.py"
EVENT = {
    "Records": [
        {
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "b"}, "object": {"key": "a+b%2Bc%C3%BC//../x"}},
        }
    ]
}


class Context:
    """What Lambda tells of an invocation."""

    aws_request_id = "request-1"

    def __init__(self, remaining_millis: int = 60_000) -> None:
        self.remaining_millis = remaining_millis

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_millis


class Service:
    """A server that answers with the given (status, headers, body), the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = [(202, {}, b"{}")]
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.requests.append((self.path, dict(self.headers.items()), body))
                more = len(service.answers) > 1
                status, headers, text = service.answers.pop(0) if more else service.answers[0]
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(text))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, *statuses: int, **headers: str) -> None:
        body = b'{"error": "X", "detail": "it is\\nso", "hint": ""}'
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers = [(status, named, body) for status in statuses]


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    thread = threading.Thread(target=service.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield service
    service.server.shutdown()
    service.server.server_close()
    thread.join()


@pytest.fixture
def pauses() -> list[float]:
    """The pauses the handler asked for."""
    return []


@pytest.fixture
def handler(service: Service, monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> ModuleType:
    """The file as Lambda loads it, with the service as its target and no real pauses."""
    for name in ("API_KEY", "TIMEOUT_SECONDS", "RETRY_ATTEMPTS", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("API_ENDPOINT", service.url)
    spec = importlib.util.spec_from_file_location("s3_lambda_handler", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    return module


class TestDelivery:
    def test_the_event_arrives_as_it_came(self, handler: ModuleType, service: Service) -> None:
        answer = handler.lambda_handler(EVENT, Context())
        assert answer == {"statusCode": 202, "records": 1, "attempts": 1}
        ((path, headers, body),) = service.requests
        assert path == "/sync/s3-notification"
        assert json.loads(body) == EVENT
        assert headers["Content-Type"] == "application/json"
        assert "X-Api-Key" not in {name.title() for name in headers}

    @pytest.mark.parametrize("ending", ["", "/", "//", "/sync/s3-notification"])
    def test_the_base_url_may_end_as_people_write_it(
        self, ending: str, handler: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("API_ENDPOINT", service.url + ending)
        handler.lambda_handler(EVENT, Context())
        assert service.requests[0][0] == "/sync/s3-notification"

    def test_a_base_path_is_kept(
        self, handler: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("API_ENDPOINT", service.url + "/team/datasync/")
        handler.lambda_handler(EVENT, Context())
        assert service.requests[0][0] == "/team/datasync/sync/s3-notification"

    def test_the_key_goes_with_it_and_into_no_log(
        self,
        handler: ModuleType,
        service: Service,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("API_KEY", "hush-hush")
        handler.lambda_handler(EVENT, Context())
        headers = {name.lower(): value for name, value in service.requests[0][1].items()}
        assert headers["x-api-key"] == "hush-hush"
        out, err = capsys.readouterr()
        assert "hush" not in out + err
        line = json.loads(out)
        assert (line["message"], line["request_id"], line["records"]) == (
            "delivered",
            "request-1",
            1,
        )

    def test_a_test_event_is_passed_on(self, handler: ModuleType, service: Service) -> None:
        event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}
        assert handler.lambda_handler(event, Context())["records"] == 0
        assert json.loads(service.requests[0][2]) == event


class TestRetries:
    @pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
    def test_it_tries_again(
        self, status: int, handler: ModuleType, service: Service, pauses: list[float]
    ) -> None:
        service.answer(status, status, 202)
        assert handler.lambda_handler(EVENT, Context())["attempts"] == 3
        assert 0.2 <= pauses[0] <= 0.4 <= pauses[1] <= 0.8

    def test_it_gives_up_loudly(
        self, handler: ModuleType, service: Service, capsys: pytest.CaptureFixture[str]
    ) -> None:
        service.answer(503)
        with pytest.raises(handler.DeliveryFailed, match=r"answered 503: it is so \(try 3\)"):
            handler.lambda_handler(EVENT, Context())
        assert len(service.requests) == 3
        assert json.loads(capsys.readouterr().out)["message"] == "delivery failed"

    def test_the_number_of_tries_is_a_setting(
        self, handler: ModuleType, service: Service, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RETRY_ATTEMPTS", "1")
        service.answer(500)
        with pytest.raises(handler.DeliveryFailed):
            handler.lambda_handler(EVENT, Context())
        assert len(service.requests) == 1

    def test_retry_after_is_respected(
        self, handler: ModuleType, service: Service, pauses: list[float]
    ) -> None:
        service.answer(503, 202, Retry_After="7")
        handler.lambda_handler(EVENT, Context())
        assert pauses == [7.0]

    @pytest.mark.parametrize("value", ["soon", "-1", "\u00b2", "Wed, 21 Oct 2026 07:28:00 GMT"])
    def test_a_retry_after_that_is_no_number_is_none(
        self, value: str, handler: ModuleType, service: Service, pauses: list[float]
    ) -> None:
        service.answer(503, 202, Retry_After=value)
        assert handler.lambda_handler(EVENT, Context())["attempts"] == 2
        assert 0.2 <= pauses[0] <= 0.4

    def test_it_does_not_wait_beyond_lambdas_deadline(
        self, handler: ModuleType, service: Service, pauses: list[float]
    ) -> None:
        service.answer(503, 202, Retry_After="7")
        with pytest.raises(handler.DeliveryFailed):
            handler.lambda_handler(EVENT, Context(remaining_millis=5_000))
        assert pauses == []

    def test_a_refused_connection_is_tried_again(
        self, handler: ModuleType, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
    ) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            monkeypatch.setenv("API_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
            with pytest.raises(handler.DeliveryFailed, match="no answer: .*refused"):
                handler.lambda_handler(EVENT, Context())
        assert len(pauses) == 2

    def test_a_silent_server_ends_in_time(
        self, handler: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setenv("API_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
            with pytest.raises(handler.DeliveryFailed, match="timed out"):
                handler.lambda_handler(EVENT, Context(remaining_millis=1_000))

    def test_an_answer_that_is_no_http_is_tried_again(
        self, handler: ModuleType, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
    ) -> None:
        with raw_server(b"SSH-2.0-hello\r\n\r\n") as url:
            monkeypatch.setenv("API_ENDPOINT", url)
            with pytest.raises(handler.DeliveryFailed, match="broken answer"):
                handler.lambda_handler(EVENT, Context())
        assert len(pauses) == 2

    def test_a_refusal_that_breaks_off_is_tried_again_as_well(
        self, handler: ModuleType, monkeypatch: pytest.MonkeyPatch, pauses: list[float]
    ) -> None:
        with raw_server(b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ncut") as url:
            monkeypatch.setenv("API_ENDPOINT", url)
            with pytest.raises(handler.DeliveryFailed, match="answered 503"):
                handler.lambda_handler(EVENT, Context())
        assert len(pauses) == 2


class TestRefusals:
    @pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 415, 422])
    def test_what_no_retry_can_help_fails_at_once(
        self, status: int, handler: ModuleType, service: Service, pauses: list[float]
    ) -> None:
        service.answer(status, 202)
        with pytest.raises(handler.Refused, match=f"answered {status}: it is so"):
            handler.lambda_handler(EVENT, Context())
        assert (len(service.requests), pauses) == (1, [])

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_followed(
        self, status: int, handler: ModuleType, service: Service
    ) -> None:
        service.answer(status, 202, Location=service.url + "/elsewhere")
        with pytest.raises(handler.Refused, match="redirect"):
            handler.lambda_handler(EVENT, Context())
        assert [path for path, _, _ in service.requests] == ["/sync/s3-notification"]

    @pytest.mark.parametrize("event", [{}, {"Records": "x"}, [], None, {"detail": {}}])
    def test_what_is_no_s3_event_is_not_sent(
        self, event: Any, handler: ModuleType, service: Service
    ) -> None:
        with pytest.raises(ValueError, match="no S3 event"):
            handler.lambda_handler(event, Context())
        assert service.requests == []

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("API_ENDPOINT", ""),
            ("API_ENDPOINT", "host:8888"),
            ("API_ENDPOINT", "ftp://host"),
            ("API_ENDPOINT", "http://me:hush@host"),
            ("TIMEOUT_SECONDS", "soon"),
            ("TIMEOUT_SECONDS", "0"),
            ("TIMEOUT_SECONDS", "nan"),
            ("RETRY_ATTEMPTS", "0"),
        ],
    )
    def test_a_bad_variable_is_named(
        self, name: str, value: str, handler: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(ValueError, match=f"^{name} must") as caught:
            handler.lambda_handler(EVENT, Context())
        assert "hush" not in str(caught.value)


class TestFile:
    def test_it_is_python_3_9(self) -> None:
        ast.parse(SOURCE.read_text(), feature_version=(3, 9))

    def test_it_needs_the_standard_library_only(self) -> None:
        tree = ast.parse(SOURCE.read_text())
        named = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        } | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert named <= {
            *("http.client", "json", "os", "random", "time", "typing"),
            *("urllib.error", "urllib.parse", "urllib.request"),
        }

    def test_loading_it_reads_no_variable(
        self, handler: ModuleType, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("API_ENDPOINT")
        exec(compile(SOURCE.read_text(), str(SOURCE), "exec"), {"__name__": "again"})


class raw_server:
    """A loopback server that sends the same bytes to whoever connects."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(self._data)
