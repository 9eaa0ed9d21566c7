"""SeaweedFS, a real S3 server: one for the session, on loopback, with signatures enforced."""

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.s3_server import S3Server
from tests.support.servers import ServerProcess, free_ports

START_SECONDS = 60.0
# Its volume server may ask for the leader before there is one, and then never again.
STUCK_SECONDS, TRIES = 25.0, 3
ACCESS_KEY = "seaweed-access"
SECRET_KEY = "seaweed/secret+key"
READER_KEY = "seaweed-reader"  # may list and read, not write
PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
)
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def start(folder: Path) -> tuple[ServerProcess, S3Server]:
    """Start a server with its data in `folder` and wait until it can store an object."""
    for number in range(1, TRIES):
        try:
            return _started(folder / f"try-{number}", STUCK_SECONDS)
        except RuntimeError:
            continue
    return _started(folder / "last-try", START_SECONDS)


def _started(folder: Path, seconds: float) -> tuple[ServerProcess, S3Server]:
    folder.mkdir()
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    process = ServerProcess(_command(folder, ports), folder, {}, leftovers=_sockets(ports))
    url = f"http://127.0.0.1:{ports['s3.port']}"
    server = S3Server(url, ACCESS_KEY, SECRET_KEY, "us-east-1", process.pid)
    volumes = f"http://127.0.0.1:{ports['master.port']}/dir/assign?collection=ready"
    process.wait_until(lambda: _answers(f"{url}/status") and "fid" in _fetch(volumes), seconds)
    return process, server


def _sockets(ports: dict[str, int]) -> list[Path]:
    """Where the program puts sockets, whatever it is told about temporary folders."""
    kinds = ("master", "volume", "filer", "s3")
    names = [f"seaweedfs-{kind}-grpc-{port}.sock" for kind in kinds for port in ports.values()]
    return [Path("/tmp", name) for name in names]


def _command(folder: Path, ports: dict[str, int]) -> list[str]:
    (folder / "data").mkdir()
    writer = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    reader = {
        "name": "reader",
        "credentials": [{"accessKey": READER_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Read", "List"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [writer, reader]}))
    options: dict[str, object] = {
        **ports,
        "dir": folder / "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 64,
        "master.volumePreallocate": "false",
        "volume.max": 2000,
        "volume.preStopSeconds": 0,
        "filer.localSocket": folder / "filer.sock",
        "s3.localSocket": folder / "s3.sock",
        "s3.config": folder / "s3.json",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.iam": "false",
    }
    weed = str(Path(sys.executable).parent / "weed")
    settings = [f"-{name}={value}" for name, value in options.items()]
    return [weed, "-logtostderr=true", "server", "-filer", "-s3", *settings]


def _answers(url: str) -> bool:
    return _fetch(url) != ""


def _fetch(url: str) -> str:
    try:
        with _OPENER.open(url, timeout=5) as answer:
            return str(answer.read(4096)) + " "
    except (urllib.error.URLError, OSError):
        return ""


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A running SeaweedFS, for the whole session."""
    process, server = start(tmp_path_factory.mktemp("seaweed"))
    try:
        yield server
    finally:
        process.stop()


@pytest.fixture
def seaweed_bucket(seaweed: S3Server) -> str:
    """The name of a fresh bucket on it."""
    return seaweed.make_bucket()
