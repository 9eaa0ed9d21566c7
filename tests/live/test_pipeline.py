"""The whole AWS path: PUT -> bucket notification -> the real Lambda handler -> POST -> file."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datasync.demo.cloud import BUCKET, Cloud
from tests.support.s3_server import S3Server
from tests.support.servers import ServerProcess, free_ports

ROOT = Path(__file__).resolve().parents[2]
API_KEY = "pipeline-key"


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> float:
    """Wait until the condition holds; returns the seconds it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not in {seconds} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - started


def environment(folder: Path, **variables: str) -> dict[str, str]:
    return {
        "PYTHONPATH": str(ROOT),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "TMPDIR": str(folder),
        "LOG_FILE": "",
        "COLUMNS": "200",
        **variables,
    }


@pytest.fixture(scope="module")
def pipeline(
    ministack: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Cloud, Path]]:
    """A service that mirrors a bucket of MiniStack, with the forwarder behind its notifications."""
    folder = tmp_path_factory.mktemp("pipeline")
    cloud = Cloud(ministack.endpoint_url)
    cloud.client("s3").create_bucket(Bucket=BUCKET)
    cloud.client("s3").put_object(Bucket=BUCKET, Key="before.txt", Body=b"before")
    port = free_ports(1)[0]
    service = ServerProcess(
        [sys.executable, "-m", "datasync", "serve"],
        folder,
        environment(
            folder,
            S3_BUCKET_NAME=BUCKET,
            AWS_ENDPOINT_URL_S3=ministack.endpoint_url,
            AWS_ACCESS_KEY_ID=ministack.access_key,
            AWS_SECRET_ACCESS_KEY=ministack.secret_key,
            LOCAL_DOWNLOAD_DIR=str(folder / "mirror"),
            API_HOST="127.0.0.1",
            API_PORT=str(port),
            API_KEYS=API_KEY,
        ),
    )
    try:
        service.wait_until((folder / "mirror" / "before.txt").is_file, 60)
        cloud.deploy(f"http://127.0.0.1:{port}/", API_KEY)
        cloud.warm()
        yield cloud, folder / "mirror"
    finally:
        service.stop()


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("hello.txt", "hello.txt"),
        ("with space+plus%25.txt", "with space+plus%25.txt"),
        ("Grüße/東京/🚀.txt", "Grüße/東京/🚀.txt"),
        ("double//slash.txt", "double/%FF/slash.txt"),
    ],
)
def test_an_object_becomes_a_file(pipeline: tuple[Cloud, Path], key: str, path: str) -> None:
    cloud, mirror = pipeline
    body = f"body of {key}".encode()
    cloud.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)
    wait_for((mirror / path).is_file, f"{path} arrives")
    assert (mirror / path).read_bytes() == body


def test_an_overwrite_and_a_delete_follow(pipeline: tuple[Cloud, Path]) -> None:
    cloud, mirror = pipeline
    s3, file = cloud.client("s3"), mirror / "changing.txt"
    s3.put_object(Bucket=BUCKET, Key="changing.txt", Body=b"one")
    wait_for(file.is_file, "the first version")
    s3.put_object(Bucket=BUCKET, Key="changing.txt", Body=b"two")
    wait_for(lambda: file.read_bytes() == b"two", "the second version")
    s3.delete_object(Bucket=BUCKET, Key="changing.txt")
    wait_for(lambda: not file.exists(), "the delete")


def test_a_service_that_refuses_makes_the_function_fail(pipeline: tuple[Cloud, Path]) -> None:
    """Raising is what makes Lambda retry and keep the event; here the key is wrong."""
    cloud, _ = pipeline
    functions = cloud.client("lambda")
    before = functions.get_function_configuration(FunctionName="datasync-forwarder")
    variables = before["Environment"]["Variables"]
    wrong = {**variables, "API_KEY": "wrong"}
    functions.update_function_configuration(
        FunctionName="datasync-forwarder", Environment={"Variables": wrong}
    )
    try:
        with pytest.raises(Exception, match="answered 401"):
            cloud.warm()
    finally:
        functions.update_function_configuration(
            FunctionName="datasync-forwarder", Environment={"Variables": variables}
        )


class TestDemo:
    @pytest.fixture
    def demo(self, tmp_path: Path) -> Iterator[ServerProcess]:
        """`datasync demo` with its first lines on the screen."""
        port = str(free_ports(1)[0])
        process = ServerProcess(
            [sys.executable, "-m", "datasync", "demo"],
            tmp_path,
            environment(tmp_path, API_PORT=port),
        )
        try:
            process.wait_until(lambda: "Changes from now on" in screen(tmp_path), 60)
            yield process
        finally:
            process.stop()

    def test_it_shows_the_whole_path_and_ends_cleanly(
        self, demo: ServerProcess, tmp_path: Path
    ) -> None:
        files = tmp_path / "demo_files"
        wait_for(lambda: (files / "large/twenty-megabytes.bin").is_file(), "the large sample")
        put = ServerProcess(
            [sys.executable, "-m", "datasync", "demo", "put", "hello.txt", "Hello"],
            _folder(tmp_path / "other"),
            environment(tmp_path),
        )
        wait_for(lambda: (files / "hello.txt").is_file(), "hello.txt arrives")
        put.stop()
        assert (files / "hello.txt").read_text() == "Hello"
        assert (files / "a/b").is_file()
        assert (files / "names/one+one.txt").is_file()
        wait_for(lambda: "+ hello.txt" in screen(tmp_path), "its line on the screen")
        children = child_pids(demo.pid)
        assert children
        os.kill(demo.pid, signal.SIGINT)
        assert wait_for(lambda: ended(demo.pid), "the demo ends") < 15
        assert all(ended(pid) for pid in children)
        assert list(tmp_path.glob("datasync-demo-*")) == []
        assert not (tmp_path / "cache/datasync/demo.json").exists()

    def test_nothing_outlives_a_kill(self, demo: ServerProcess, tmp_path: Path) -> None:
        children = child_pids(demo.pid)
        assert children
        os.kill(demo.pid, signal.SIGKILL)
        wait_for(lambda: all(ended(pid) for pid in children), "its children end")
        wait_for(lambda: list(tmp_path.glob("datasync-demo-*")) == [], "their files go")


def screen(folder: Path) -> str:
    return (folder / "server.log").read_text(errors="replace")


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def ended(pid: int) -> bool:
    """Whether the process is gone, or a zombie that only its parent can take away."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def child_pids(pid: int) -> list[int]:
    """All descendants of a process."""
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]
