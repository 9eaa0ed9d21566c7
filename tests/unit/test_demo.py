"""The demo's parts: its samples, its folder, what it shows, how an object is put."""

import gzip
import os
import signal
import struct
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from datasync.demo.cloud import running_cloud
from datasync.demo.folder import demo_folder
from datasync.demo.put import announced, environment, put_object
from datasync.demo.samples import LARGE_BYTES, samples
from datasync.demo.screen import Places, changes, commands, look, looking
from datasync.demo.shell import lines, variables
from datasync.demo.show import _settings
from datasync.errors import ConfigurationError, NetworkFailure
from tests.support.command_line import use_settings

ROOT = Path(__file__).parents[2]
VARIABLES = {"S3_BUCKET_NAME": "b", "LOCAL_DOWNLOAD_DIR": "/it's a/$HOME", "LOG_FILE": ""}
PLACES = Places(
    "http://127.0.0.1:1", "http://127.0.0.1:2/b", Path("/x"), 3, has_put=True, variables=VARIABLES
)


class TestSamples:
    def test_they_are_about_thirty_and_the_same_each_time(self) -> None:
        first, second = list(samples()), list(samples())
        assert first == second
        assert 25 <= len({sample.key for sample in first}) == len(first) <= 35

    def test_every_awkward_sort_is_there(self) -> None:
        keys = {sample.key: sample for sample in samples()}
        assert {"a", "a/b", "empty.dat", "folder-marker/", "names/one+one.txt"} <= set(keys)
        assert any(not key.isascii() for key in keys)
        assert keys["empty.dat"].body == b""
        large = keys["large/twenty-megabytes.bin"]
        assert (large.parts, len(large.body)) == (True, LARGE_BYTES)

    def test_the_image_is_a_valid_png(self) -> None:
        data = next(sample.body for sample in samples() if sample.key == "images/gradient.png")
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        place, kinds, pixels = 8, [], b""
        while place < len(data):
            (size,) = struct.unpack(">I", data[place : place + 4])
            chunk = data[place + 4 : place + 8 + size]
            (crc,) = struct.unpack(">I", data[place + 8 + size : place + 12 + size])
            assert crc == zlib.crc32(chunk)
            kinds.append(chunk[:4])
            pixels += chunk[4:] if chunk[:4] == b"IDAT" else b""
            place += size + 12
        assert kinds == [b"IHDR", b"IDAT", b"IEND"]
        assert len(zlib.decompress(pixels)) == 64 * (1 + 64 * 3)

    def test_the_packed_log_unpacks(self) -> None:
        data = next(sample.body for sample in samples() if sample.key.endswith(".gz"))
        assert gzip.decompress(data).count(b"\n") == 500


class TestFolder:
    def test_a_real_mirror_is_refused_and_untouched(self, tmp_path: Path) -> None:
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(ConfigurationError, match="not empty and no demo has made it"):
            with demo_folder(tmp_path):
                pass
        assert os.listdir(tmp_path) == ["mine.txt"]

    def test_an_earlier_demos_files_stay_and_its_ledger_goes(self, tmp_path: Path) -> None:
        root = tmp_path / "demo"
        with demo_folder(root):
            (root / "hello.txt").write_text("hello")
            (root / ".datasync" / "ledger.db").write_text("old")
            (root / ".datasync" / "trash").mkdir()
            (root / ".datasync" / "link").symlink_to(tmp_path)
        (tmp_path / "sentinel").write_text("here")
        with demo_folder(root):
            assert os.listdir(root / ".datasync") == ["demo"]
            assert (root / "hello.txt").read_text() == "hello"
        assert (tmp_path / "sentinel").read_text() == "here"

    def test_two_demos_do_not_share_a_folder(self, tmp_path: Path) -> None:
        with demo_folder(tmp_path / "demo"):
            with pytest.raises(ConfigurationError, match="another demo is running") as caught:
                with demo_folder(tmp_path / "demo"):
                    pass
        assert "Stop it with Ctrl-C" in caught.value.hint

    def test_a_place_that_cannot_be_written_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigurationError, match="cannot be used: Not a directory"):
            with demo_folder(tmp_path / "file" / "demo"):
                pass


class TestCloud:
    def test_where_only_the_service_is_installed_the_demo_says_so(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("datasync.demo.cloud.find_spec", lambda _name: None)
        with pytest.raises(ConfigurationError, match="not installed here") as caught:
            with running_cloud():
                pass
        assert "make run" in caught.value.hint


class TestChild:
    # As asyncio does: SIGTERM is taken, and given back to the system before the end.
    SERVER = """
import signal, sys, time
over = []
signal.signal(signal.SIGTERM, lambda *_: over.append(1))
print("ready", flush=True)
while not over:
    signal.pause()
signal.signal(signal.SIGTERM, signal.SIG_DFL)
time.sleep(0.2)
"""
    STUB = "import signal\nprint('ready', flush=True)\nsignal.pause()\n"

    @pytest.mark.parametrize(
        ("server", "told"),
        [(STUB, signal.SIGTERM), (STUB, signal.SIGUSR1), (SERVER, signal.SIGUSR1)],
        ids=["told", "orphaned", "orphaned, SIGTERM given back"],
    )
    def test_it_removes_its_folder_however_often_it_is_told_to_end(
        self, tmp_path: Path, server: str, told: signal.Signals
    ) -> None:
        """The kernel may tell it once for each thread of a parent that is killed."""
        folder, stub = tmp_path / "cloud", tmp_path / "ministack.py"
        stub.write_text(server)
        for number in range(2000):
            file = folder / str(number % 40) / str(number)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        with subprocess.Popen(
            [sys.executable, "-m", "datasync.demo.child", str(os.getpid()), str(folder)],
            env={"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
            stdout=subprocess.PIPE,
        ) as child:
            assert child.stdout is not None and child.stdout.readline() == b"ready\n"
            while child.poll() is None:
                child.send_signal(told)
        assert not folder.exists()


class TestScreen:
    def test_each_file_that_comes_changes_or_goes_is_a_line(self, tmp_path: Path) -> None:
        (tmp_path / ".datasync").mkdir()
        (tmp_path / ".datasync" / "ledger.db").write_text("x")
        (tmp_path / "old").write_text("1")
        (tmp_path / "gone").write_text("1")
        before = look(tmp_path)
        (tmp_path / "old").write_text("22")
        (tmp_path / "gone").unlink()
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "new").write_text("12345")
        shown = [line.plain[8:] for line in changes(before, look(tmp_path))]
        assert shown == ["  + folder/new  5 bytes", "  - gone", "  ~ old  2 bytes"]

    def test_a_hostile_name_is_shown_escaped_and_not_as_markup(self) -> None:
        name = "[red]x\x1b[31m\n\u202e"
        (line,) = changes({}, {name: (1, 0, 0)})
        assert line.plain[8:] == "  + [red]x\\x1b[31m\\x0a\\u202e  0 bytes"

    def test_the_commands_start_this_program(self) -> None:
        first, second = commands(PLACES)
        assert first.endswith('demo put hello.txt "Hello"')
        assert second.startswith("curl ") and PLACES.bucket in second

    def test_without_a_note_the_variables_themselves_are_shown(self) -> None:
        assert looking(PLACES)[0].startswith('eval "$(')
        shown = looking(replace(PLACES, has_put=False))
        assert "export S3_BUCKET_NAME=b" in shown
        assert shown[-1].endswith(" status")


class TestShell:
    def test_the_lines_set_what_they_say_and_nothing_of_before_stays(self) -> None:
        script = "\n".join([*lines(VARIABLES), "env"])
        before = {"AWS_PROFILE": "mine", "S3_PREFIX": "x/", "no_proxy": "example.com"}
        ran = subprocess.run(
            ["sh", "-c", script], env=before, capture_output=True, text=True, check=True
        )
        found = dict(line.partition("=")[::2] for line in ran.stdout.splitlines())
        assert VARIABLES.items() <= found.items()
        assert not {"AWS_PROFILE", "S3_PREFIX"} & set(found)
        assert found["no_proxy"] == "127.0.0.1,localhost,example.com"
        assert found["NO_PROXY"] == "127.0.0.1,localhost"

    @pytest.mark.parametrize("directory", ["downloaded_files", "somewhere/else"])
    def test_the_demo_is_never_where_a_real_mirror_is_meant_to_be(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, directory: str
    ) -> None:
        use_settings(monkeypatch, tmp_path, S3_BUCKET_NAME="")
        monkeypatch.delenv("LOCAL_DOWNLOAD_DIR")
        example = (ROOT / ".env.example").read_text()
        given = f"LOCAL_DOWNLOAD_DIR={directory}"
        queue = "SQS_QUEUE_URL=https://sqs.eu-central-1.amazonaws.com/123456789012/real\n"
        example = example.replace("LOCAL_DOWNLOAD_DIR=downloaded_files", given)
        Path(".env").write_text(example.replace("SQS_QUEUE_URL=\n", queue))
        settings = _settings("http://127.0.0.1:1", None)
        assert queue in Path(".env").read_text() and settings.sqs_queue_url is None
        assert settings.root == tmp_path / "demo_files"
        shown = variables(settings)
        assert shown["LOCAL_DOWNLOAD_DIR"] == str(tmp_path / "demo_files")
        assert shown["DATABASE_URL"] == settings.ledger_url()


class TestPut:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def test_without_a_demo_it_says_how_to_start_one(self) -> None:
        with pytest.raises(ConfigurationError, match="no demo is running") as caught:
            put_object("a", "b")
        assert "datasync demo" in caught.value.hint
        with pytest.raises(ConfigurationError, match="no demo is running"):
            environment()

    def test_a_running_demo_is_found_with_its_variables(self) -> None:
        with announced("http://127.0.0.1:1/b", VARIABLES):
            assert environment() == VARIABLES

    def test_a_demo_that_died_is_no_demo(self) -> None:
        with announced("http://127.0.0.1:1/b"), pytest.raises(NetworkFailure, match="no demo"):
            put_object("a", "b")

    def test_a_file_that_cannot_be_read_is_named(self) -> None:
        with announced("http://127.0.0.1:1/b"):
            with pytest.raises(ConfigurationError, match="cannot read /no/such: No such file"):
                put_object("a", "@/no/such")

    def test_the_note_goes_with_the_demo_that_left_it(self, tmp_path: Path) -> None:
        note = tmp_path / "datasync" / "demo.json"
        with announced("http://one"):
            with announced("http://two"):
                assert "two" in note.read_text()
            assert not note.exists()
        with announced("http://three"):
            note.write_text("of a later demo")
        assert note.exists()
