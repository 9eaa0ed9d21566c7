"""The service as a process: importing it, starting it wrongly, stopping it in mid-work."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.fake_bucket import FakeBucket
from tests.support.servers import free_ports
from tests.support.service import Starter
from tests.support.world import eventually

ROOT = Path(__file__).parents[2]
SERVER = [sys.executable, str(ROOT / "server.py")]
SERVE = [sys.executable, "-m", "datasync", "serve"]
STATUS = [sys.executable, "-m", "datasync", "status"]
UVICORN = [sys.executable, "-m", "uvicorn", "server:app", "--app-dir", str(ROOT), "--port"]
GUNICORN = [
    *(sys.executable, "-m", "gunicorn", "server:app", "-w", "2"),
    *("-c", str(ROOT / "gunicorn.conf.py")),  # read by itself in a checkout
    *("-k", "uvicorn.workers.UvicornWorker", "--no-control-socket", "--bind"),
]
# Each way to start, and the code it ends with over bad settings.
STARTS = [(SERVER, 2), (SERVE, 2), (GUNICORN + ["127.0.0.1:0"], 2)]
NAMES = ["server.py", "serve", "gunicorn"]


@pytest.fixture
def hanging_port() -> Iterator[int]:
    """A server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


def environment(folder: Path, **settings: object) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "HOME": str(folder),
        "LOCAL_DOWNLOAD_DIR": str(folder / "mirror"),
        "LOG_FILE": str(folder / "service.log"),
        "API_PORT": str(free_ports(1)[0]),
        **{name: str(value) for name, value in settings.items()},
    }


def working(folder: Path, endpoint_port: int, **settings: object) -> dict[str, str]:
    return environment(
        folder,
        S3_BUCKET_NAME="bucket",
        AWS_ENDPOINT_URL_S3=f"http://127.0.0.1:{endpoint_port}",
        AWS_NO_SIGN_REQUEST="true",
        ENABLE_PERIODIC_SYNC="false",
        API_HOST="127.0.0.1",
        **settings,
    )


@contextmanager
def started(
    command: list[str],
    folder: Path,
    settings: dict[str, str],
    port: int,
    output: int = subprocess.PIPE,
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=settings,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        wait_for_ping(process, port)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for_ping(process: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            httpx.get(
                f"http://127.0.0.1:{port}/ping", trust_env=False, verify=False
            ).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    raise AssertionError(process.communicate()[0])


def ended(command: list[str], folder: Path, settings: dict[str, str]) -> tuple[int, str]:
    with subprocess.Popen(
        command,
        cwd=folder,
        env=settings,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with its workers
            raise
    return process.returncode, output


def test_importing_needs_no_environment_and_makes_nothing(tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import server; print(server.app.title)"
    returned, output = ended([sys.executable, "-B", "-W", "error", "-c", code], tmp_path, {})
    assert (returned, output) == (0, "DataSync\n")
    assert list(tmp_path.iterdir()) == []


def told(output: str) -> list[str]:
    """The lines of a refused start, without gunicorn's own."""
    return [line for line in output.splitlines() if not line.startswith("[")]


@pytest.mark.parametrize(("command", "code"), STARTS, ids=NAMES)
def test_every_bad_setting_is_one_line_and_nothing_else(
    tmp_path: Path, command: list[str], code: int
) -> None:
    settings = environment(tmp_path, PYTHONPATH=ROOT, API_PORT="x", LOG_LEVEL="LOUD")
    returned, output = ended(command, tmp_path, settings)
    assert returned == code
    assert [line.split()[:2] for line in told(output)] == [
        ["datasync:", "S3_BUCKET_NAME"],
        ["datasync:", "API_PORT"],
        ["datasync:", "LOG_LEVEL"],
    ]
    assert all(f" Example: {line.split()[1]}=" in line for line in told(output))


@pytest.mark.parametrize(("command", "code"), STARTS, ids=NAMES)
def test_a_line_of_the_env_file_that_is_no_setting_stops_the_start_once(
    tmp_path: Path, command: list[str], code: int
) -> None:
    (tmp_path / ".env").write_text("S3_BUCKET_NAME=bucket\n\nnot a setting\n")
    returned, output = ended(command, tmp_path, environment(tmp_path, PYTHONPATH=ROOT))
    assert returned == code
    assert told(output) == ["datasync: .env line 3: this is no setting. Example: NAME=value"]


@pytest.mark.parametrize(("command", "code"), [*STARTS, (STATUS, 2)], ids=[*NAMES, "status"])
@pytest.mark.parametrize("place", ["{folder}/file", "/proc/none"])
def test_places_that_cannot_be_used_are_told_like_bad_settings(
    tmp_path: Path, command: list[str], code: int, place: str
) -> None:
    place = place.format(folder=tmp_path)
    (tmp_path / "file").write_text("")
    places = {"LOCAL_DOWNLOAD_DIR": place, "LOG_FILE": f"{place}/x.log"}
    settings = working(tmp_path, 9, PYTHONPATH=ROOT, **places)
    returned, output = ended(command, tmp_path, settings)
    assert returned == code
    assert [line.split(" cannot be ")[0] for line in told(output)] == [
        f"datasync: LOG_FILE {place}/x.log",
        f"datasync: LOCAL_DOWNLOAD_DIR {place}",
    ]
    assert all(" Example: L" in line for line in told(output))


@pytest.mark.parametrize("command", [SERVER, SERVE], ids=NAMES[:2])
@pytest.mark.parametrize(
    "host, words",
    [
        ("999.1.1.1", "must be an address or host name, not '999.1.1.1'"),
        ("192.0.2.1", "192.0.2.1 is no address of this machine"),  # RFC 5737: nobody's
    ],
)
def test_a_host_to_listen_on_that_is_none_is_told_with_all_the_rest(
    tmp_path: Path, command: list[str], host: str, words: str
) -> None:
    settings = working(tmp_path, 9, PYTHONPATH=ROOT)
    settings |= {"API_HOST": host, "LOG_FILE": str(tmp_path)}
    returned, output = ended(command, tmp_path, settings)
    assert returned == 2
    first, *others = output.splitlines()
    assert first == f"datasync: API_HOST {words}. Example: API_HOST=0.0.0.0"
    assert [line.split()[1] for line in others] == ([] if "not" in words else ["LOG_FILE"])


def test_a_log_file_that_is_a_folder_stops_the_start(tmp_path: Path) -> None:
    settings = working(tmp_path, 9, PYTHONPATH=ROOT) | {"LOG_FILE": str(tmp_path)}
    returned, output = ended(SERVE, tmp_path, settings)
    assert (returned, output) == (
        2,
        f"datasync: LOG_FILE {tmp_path} cannot be written: Is a directory. "
        "Example: LOG_FILE=s3_notifications.log\n",
    )


def test_another_buckets_directory_is_refused_before_the_start(tmp_path: Path) -> None:
    settings = working(tmp_path, 9, PYTHONPATH=ROOT)
    assert ended(STATUS, tmp_path, settings)[0] == 1  # not in sync; the directory is taken
    for command, code in STARTS:
        returned, output = ended(command, tmp_path, settings | {"S3_BUCKET_NAME": "another"})
        assert returned == code
        [line] = told(output)
        assert line.startswith("datasync: LOCAL_DOWNLOAD_DIR is the mirror of ")
        assert "--adopt" in line


def test_a_bad_setting_under_other_servers_is_told_without_a_traceback(tmp_path: Path) -> None:
    [port] = free_ports(1)
    alone = [part for part in GUNICORN if part not in ("-c", str(ROOT / "gunicorn.conf.py"))]
    alone[alone.index("-w") + 1] = "1"  # gunicorn stumbles over two that fail at once
    for command in (UVICORN + [str(port)], alone + [f"127.0.0.1:{port}"]):
        settings = environment(tmp_path, PYTHONPATH=ROOT, API_PORT="x")
        returned, output = ended(command, tmp_path, settings)
        assert returned != 0
        lines = [line for line in output.splitlines() if line.startswith("datasync: ")]
        assert [line.split()[1] for line in lines] == ["S3_BUCKET_NAME", "API_PORT"]
        assert "Traceback" not in output


def test_a_port_in_use_is_one_line_and_may_be_tried_again(
    tmp_path: Path, hanging_port: int
) -> None:
    settings = working(tmp_path, hanging_port, PYTHONPATH=ROOT, API_PORT=hanging_port)
    for command in (SERVER, SERVE):
        returned, output = ended(command, tmp_path, settings)
        assert returned == 1
        [line] = output.splitlines()
        assert line.startswith(f"datasync: API_PORT {hanging_port} is in use: ")
        assert line.endswith(" Example: API_PORT=8889")


@pytest.mark.parametrize("command", [SERVER, SERVE], ids=NAMES[:2])
@pytest.mark.parametrize("form", ["console", "json"])
def test_one_line_says_where_it_serves_and_what(
    tmp_path: Path, hanging_port: int, command: list[str], form: str
) -> None:
    [port] = free_ports(1)
    settings = working(tmp_path, hanging_port, PYTHONPATH=ROOT, API_PORT=port, LOG_FORMAT=form)
    settings |= {"API_HOST": "0.0.0.0", "S3_PREFIX": "a b/", "API_KEYS": "hush-hush"}
    with started(command, tmp_path, settings, port) as process:
        log = tmp_path / "service.log"
        eventually(lambda: "serving" in log.read_text())
        process.terminate()
        output, _ = process.communicate(timeout=15)
    lines = [line for line in output.splitlines() if "serving" in line]
    assert lines == [line for line in log.read_text().splitlines() if "serving" in line]
    [line] = lines
    told = (
        json.loads(line) if form == "json" else dict(re.findall(r'(\w+)="?([^"]+?)"?(?= |$)', line))
    )
    url = f"http://localhost:{port}"
    assert (told["url"], told["docs"]) == (url, f"{url}/docs")
    assert told["bucket"].startswith("s3://bucket/a")
    assert told["directory"] == str(tmp_path / "mirror")
    assert "hush" not in output


@pytest.mark.parametrize(
    ("program", "number"),
    [(SERVER, signal.SIGTERM), (SERVER, signal.SIGINT), (SERVE, signal.SIGHUP)],
)
def test_a_signal_ends_it_in_good_order_in_the_middle_of_waiting(
    tmp_path: Path, hanging_port: int, program: list[str], number: signal.Signals
) -> None:
    [port] = free_ports(1)
    settings = working(tmp_path, hanging_port, API_PORT=port, PYTHONPATH=ROOT)
    with started(program, tmp_path, settings, port) as process:
        waiting = Waiting(port)
        begun = time.monotonic()
        process.send_signal(number)
        output, _ = process.communicate(timeout=15)
        assert time.monotonic() - begun < 10
        assert process.returncode == 0, output
        assert "Traceback" not in output
        waiting.assert_answered()


def test_gunicorn_ends_in_good_order_in_the_middle_of_waiting(
    tmp_path: Path, hanging_port: int
) -> None:
    [port] = free_ports(1)
    settings = {**working(tmp_path, hanging_port), "PYTHONPATH": str(ROOT)}
    with started(GUNICORN + [f"127.0.0.1:{port}"], tmp_path, settings, port) as process:
        waiting = Waiting(port)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
        assert time.monotonic() - begun < 10
        assert process.returncode == 0, output
        assert "Traceback" not in output
        assert "Error" not in output  # each worker closes its sockets once
        waiting.assert_answered()


def test_the_workers_of_gunicorn_agree_and_believe_no_forwarding_header(
    tmp_path: Path, hanging_port: int
) -> None:
    [port] = free_ports(1)
    settings = {
        **working(tmp_path, hanging_port),
        "PYTHONPATH": str(ROOT),
        "FORWARDED_ALLOW_IPS": "*",
    }
    with started(GUNICORN + [f"127.0.0.1:{port}"], tmp_path, settings, port):
        base = f"http://127.0.0.1:{port}"
        run_id = httpx.post(
            f"{base}/sync/trigger?background=true", trust_env=False, verify=False
        ).json()["run_id"]
        for _ in range(12):  # new connections: both workers answer
            shown = httpx.get(f"{base}/sync/runs/{run_id}", trust_env=False, verify=False)
            assert shown.json()["id"] == run_id
            forged = {"X-Forwarded-For": "127.0.0.1"}
            refused = httpx.get(f"{base}/sync/runs", headers=forged, trust_env=False, verify=False)
            assert refused.status_code == 401


class Waiting:
    """A client that waits for a trigger whose run cannot end."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._answers: list[httpx.Response] = []
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        deadline = time.monotonic() + 10
        while not httpx.get(f"{self._base}/sync/runs", trust_env=False, verify=False).json()[
            "runs"
        ]:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def _ask(self) -> None:
        self._answers.append(
            httpx.post(f"{self._base}/sync/trigger", timeout=30, trust_env=False, verify=False)
        )

    def assert_answered(self) -> None:
        self._thread.join(15)
        [answer] = self._answers
        assert answer.status_code in (200, 202)
        assert answer.json()["status"] in ("accepted", "failed")


def test_a_client_that_reads_nothing_is_cut_off_when_the_process_stops(
    start_service: Starter,
) -> None:
    bucket = FakeBucket()
    bucket.put("big", b"x" * 30_000_000)
    service = start_service(bucket)
    service.sync()
    shutdown = service.app.state.shutdown
    with socket.create_connection(("127.0.0.1", service.port)) as stalled:
        stalled.sendall(b"GET /sync/download/big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert stalled.recv(100).startswith(b"HTTP/1.1 200")
        shutdown.loop.call_soon_threadsafe(shutdown.begin)
        eventually(lambda: '"path": "/sync/download/big"' in service.log())
        rest = iter(lambda: stalled.recv(2**20), b"")
        assert sum(map(len, rest)) < 30_000_000
