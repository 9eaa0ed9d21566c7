"""The whole AWS path: PUT -> bucket notification -> the real Lambda handler -> POST -> file."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasync.demo.cloud import BUCKET, Cloud
from tests.support.ministack import reset
from tests.support.s3_server import S3Server
from tests.support.servers import ServerProcess, free_ports, listens_beyond_loopback
from tests.support.world import eventually

ROOT = Path(__file__).resolve().parents[2]
API_KEY = "pipeline-key"
MIB = 2**20
SECONDS = 20.0


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
        reset(ministack)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("hello.txt", "hello.txt"),
        ("with space+plus%25.txt", "with space+plus%25.txt"),
        ("Grüße/東京/🚀.txt", "Grüße/東京/🚀.txt"),
        ("a=b&c?d#e;f'\"\\.txt", "a=b&c?d#e;f'\"\\.txt"),
        ("line\nbreak.txt", "line\nbreak.txt"),
        ("double//slash.txt", "double/%FF/slash.txt"),
        ("/lead.txt", "%FF/lead.txt"),
        ("up/../../out.txt", "up/%FF%2E%2E/%FF%2E%2E/out.txt"),
        (".datasync/ledger.db", "%FF.datasync/ledger.db"),
    ],
)
def test_an_object_comes_changes_and_goes(
    pipeline: tuple[Cloud, Path], key: str, path: str
) -> None:
    cloud, mirror = pipeline
    s3, file = cloud.client("s3"), mirror / path
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"one")
    eventually(lambda: content(file) == b"one", SECONDS)
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"two")
    eventually(lambda: content(file) == b"two", SECONDS)
    s3.delete_object(Bucket=BUCKET, Key=key)
    eventually(lambda: content(file) is None, SECONDS)


def test_an_upload_in_parts_and_a_copy_arrive(pipeline: tuple[Cloud, Path]) -> None:
    cloud, mirror = pipeline
    s3, parts = cloud.client("s3"), (os.urandom(5 * MIB), b"the end")
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="parts.bin")["UploadId"]
    target = {"Bucket": BUCKET, "Key": "parts.bin", "UploadId": upload}
    sent = [
        {
            "PartNumber": number,
            "ETag": s3.upload_part(**target, PartNumber=number, Body=part)["ETag"],
        }
        for number, part in enumerate(parts, start=1)
    ]
    s3.complete_multipart_upload(**target, MultipartUpload={"Parts": sent})
    eventually(lambda: content(mirror / "parts.bin") == b"".join(parts), SECONDS)
    s3.copy_object(Bucket=BUCKET, Key="copy.bin", CopySource={"Bucket": BUCKET, "Key": "parts.bin"})
    eventually(lambda: content(mirror / "copy.bin") == b"".join(parts), SECONDS)


def test_a_burst_ends_with_what_the_bucket_holds(pipeline: tuple[Cloud, Path]) -> None:
    """Every key changes three times; a third of them is deleted at the end."""
    cloud, mirror = pipeline
    s3, keys = cloud.client("s3"), [f"burst/{number:02}" for number in range(30)]
    for version in range(3):
        for key in keys:
            s3.put_object(Bucket=BUCKET, Key=key, Body=f"{key} {version}".encode())
    for key in keys[::3]:
        s3.delete_object(Bucket=BUCKET, Key=key)
    wanted = {key: None if key in keys[::3] else f"{key} 2".encode() for key in keys}
    eventually(lambda: {key: content(mirror / key) for key in keys} == wanted, SECONDS)


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
        eventually((files / "large/twenty-megabytes.bin").is_file, SECONDS)
        put = ServerProcess(
            [sys.executable, "-m", "datasync", "demo", "put", "hello.txt", "Hello"],
            _folder(tmp_path / "other"),
            environment(tmp_path),
        )
        eventually((files / "hello.txt").is_file, SECONDS)
        put.stop()
        assert (files / "hello.txt").read_text() == "Hello"
        assert (files / "a/b").is_file()
        assert (files / "names/one+one.txt").is_file()
        eventually(lambda: "+ hello.txt" in screen(tmp_path), SECONDS)
        self._command_line_works_when_pasted(tmp_path)
        children = child_pids(demo.pid)
        assert children
        assert [listens_beyond_loopback(pid) for pid in children] == [[] for _ in children]
        os.kill(demo.pid, signal.SIGINT)
        eventually(lambda: ended(demo.pid), 15)
        eventually(lambda: all(ended(pid) for pid in children), SECONDS)
        assert list(tmp_path.glob("datasync-demo-*")) == []
        assert not (tmp_path / "cache/datasync/demo.json").exists()

    @staticmethod
    def _command_line_works_when_pasted(folder: Path) -> None:
        pasted = screen(folder).split("with the command line")[1].split("so far. Changes")[0]
        first, *others = [line.strip() for line in pasted.splitlines() if line.startswith("    ")]
        assert first.startswith('eval "$(') and others[-1].endswith(" status")
        for arguments, words in (("status", "in sync"), ("plan", "Nothing to do"), ("sync", "")):
            command = others[-1].removesuffix("status") + arguments
            ran = subprocess.run(
                ["sh", "-ec", f"{first}\n{command}"],
                cwd=folder / "other",
                env=environment(folder, S3_PREFIX="not/the/demos/", LOG_FILE="/"),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert ran.returncode == 0, ran.stderr
            assert words in ran.stdout + ran.stderr

    def test_nothing_outlives_a_kill(self, demo: ServerProcess, tmp_path: Path) -> None:
        children = child_pids(demo.pid)
        assert children
        assert [listens_beyond_loopback(pid) for pid in children] == [[] for _ in children]
        os.kill(demo.pid, signal.SIGKILL)
        eventually(lambda: all(ended(pid) for pid in children), SECONDS)
        eventually(lambda: list(tmp_path.glob("datasync-demo-*")) == [], SECONDS)


def content(file: Path) -> bytes | None:
    """What a reader finds now; None when there is no such file."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


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
