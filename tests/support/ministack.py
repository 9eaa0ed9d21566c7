"""MiniStack, a local AWS: one for the session, on loopback, nothing kept after it."""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.s3_server import S3Server
from tests.support.servers import ServerProcess, free_ports

START_SECONDS = 60.0
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def start(folder: Path) -> tuple[ServerProcess, S3Server]:
    """Start MiniStack with its files in `folder` and wait until it is healthy."""
    port = free_ports(1)[0]
    environment = {
        "BIND_HOST": "127.0.0.1",
        "IOT_MTLS_ENABLED": "0",  # or it listens on every interface, whatever BIND_HOST says
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "PERSIST_STATE": "0",
        "S3_PERSIST": "0",
        "STATE_DIR": str(folder / "state"),
        "S3_DATA_DIR": str(folder / "s3"),
        "TMPDIR": str(folder),
        "LOG_LEVEL": "WARNING",
        "DOCKER_HOST": f"unix://{folder}/no-docker.sock",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
    }
    process = ServerProcess([sys.executable, "-m", "ministack"], folder, environment)
    url = f"http://127.0.0.1:{port}"
    process.wait_until(lambda: _healthy(url), START_SECONDS)
    return process, S3Server(url, "test", "test", "us-east-1", process.pid)


def reset(server: S3Server) -> None:
    """Forget every bucket, queue, topic and function."""
    request = urllib.request.Request(f"{server.endpoint_url}/_ministack/reset", method="POST")
    with _OPENER.open(request, timeout=30) as answer:
        answer.read()


def _healthy(url: str) -> bool:
    try:
        with _OPENER.open(f"{url}/_ministack/health", timeout=5) as answer:
            return int(answer.status) == 200
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running MiniStack, for the whole session."""
    process, server = start(tmp_path_factory.mktemp("ministack"))
    try:
        yield server
    finally:
        process.stop()


@pytest.fixture
def ministack_bucket(ministack: S3Server) -> str:
    """The name of a fresh bucket on it."""
    return ministack.make_bucket()
