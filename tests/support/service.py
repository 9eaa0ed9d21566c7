"""The whole service on loopback: the real app, engine, ledger and folder, with a `FakeBucket`."""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from datasync.app import bind, create_app, server_config
from datasync.composition import Components, compose
from datasync.config.settings import Settings
from datasync.models.sync_models import Run, RunStatus
from datasync.utils.logger import close_logging
from tests.support.fake_bucket import FakeBucket
from tests.support.world import eventually

BUCKET = "bkt"
FOREIGN_SETTINGS = (
    "AWS_",
    "S3_",
    "API_",
    "LOG_",
    "SYNC_",
    "CORS_",
    "DATABASE_URL",
    "DURABILITY",
    "OTEL_",
)


class Service:
    """A running service. `api` speaks to it; `bucket` is what it mirrors."""

    def __init__(self, folder: Path, bucket: FakeBucket, **settings: Any) -> None:
        self.folder = folder
        self.root = folder / "mirror"
        self.bucket = bucket
        self.log_file = folder / "service.log"
        self.settings = Settings(
            **{
                "s3_bucket_name": BUCKET,
                "local_download_dir": self.root,
                "log_file": self.log_file,
                "log_format": "json",
                "enable_periodic_sync": False,
                **settings,
            }
        )
        self.app = create_app(self.settings, composer=self._compose)
        self._listener = bind("127.0.0.1", 0)
        self.port = self._listener.getsockname()[1]
        self.server = uvicorn.Server(server_config(self.app))
        self._thread = threading.Thread(target=self.server.run, args=([self._listener],))
        self.parts: Components
        self.api = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", timeout=30.0, trust_env=False, verify=False
        )

    def _compose(self, settings: Settings) -> Components:
        self.parts = compose(settings, make_bucket=lambda _: self.bucket)
        return self.parts

    def start(self) -> "Service":
        self._thread.start()
        eventually(lambda: self.server.started or not self._thread.is_alive())
        assert self.server.started
        return self

    def stop(self) -> None:
        self.api.close()
        self.server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(20)
        assert not self._thread.is_alive()
        self._listener.close()

    def on_the_loop(self) -> bool:
        """Whether who asks holds up everybody: runs in the thread of the event loop."""
        return threading.current_thread() is self._thread

    # Short forms

    def get(self, path: str, status: int = 200, **more: Any) -> Any:
        answer = self.api.get(path, **more)
        assert answer.status_code == status, answer.text
        return answer.json()

    def post(self, path: str, status: int = 200, **more: Any) -> Any:
        answer = self.api.post(path, **more)
        assert answer.status_code == status, answer.text
        return answer.json()

    def sync(self) -> Any:
        return self.post("/sync/trigger")

    def run_ended(self, run_id: int) -> Run:
        def ended() -> bool:
            status = self.parts.ledger.run(run_id).status
            return status not in (RunStatus.QUEUED, RunStatus.RUNNING)

        eventually(ended)
        return self.parts.ledger.run(run_id)

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    def answered(self, status: int) -> int:
        """How many requests were answered so, by the log."""
        said = map(json.loads, self.log().splitlines())
        return sum(line["event"] == "request" and line["status"] == status for line in said)

    def send_raw(self, request: bytes) -> bytes:
        """The bytes that come back for these bytes, until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def get_raw(self, target: str, *headers: str, method: str = "GET") -> tuple[int, str, bytes]:
        """Status, head and body for a request target that no client library has touched."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
        answer = self.send_raw("\r\n".join([*lines, "", ""]).encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), head.decode("latin-1").lower(), body


Starter = Callable[..., Service]


@pytest.fixture
def start_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starter]:
    """Starts services with the settings given; stops them after the test."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(FOREIGN_SETTINGS):
            monkeypatch.delenv(name)
    started: list[Service] = []

    def start(bucket: FakeBucket | None = None, **settings: Any) -> Service:
        made = Service(tmp_path, bucket or FakeBucket(), **settings)
        started.append(made)
        return made.start()

    yield start
    for service in started:
        service.stop()
    close_logging()


@pytest.fixture
def service(start_service: Starter) -> Service:
    """A service with an empty bucket, open to loopback."""
    return start_service()
