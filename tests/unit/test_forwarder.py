"""The Lambda function as a file: found where it is, packed alone, the same bytes each time."""

import hashlib
import io
import os
import stat
import zipfile
from base64 import b64encode
from pathlib import Path

import pytest

from datasync.cli.entry import run_command
from datasync.errors import ConfigurationError
from datasync.forwarder import FILE_NAME, handler_file, zipped
from tests.support.forwarding import SOURCE


class TestSource:
    def test_in_a_checkout_it_is_beside_the_package(self) -> None:
        assert handler_file() == SOURCE

    def test_where_datasync_is_installed_it_is_in_the_package(self, tmp_path: Path) -> None:
        """pyproject.toml puts it there."""
        (tmp_path / "datasync").mkdir()
        (tmp_path / "lambda").mkdir()
        (tmp_path / "lambda" / FILE_NAME).write_text("of another package")
        inside = tmp_path / "datasync" / FILE_NAME
        inside.write_text("ours")
        assert handler_file(tmp_path / "datasync") == inside

    def test_without_it_the_error_says_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match=FILE_NAME) as caught:
            handler_file(tmp_path)
        assert "checkout" in caught.value.hint


class TestZip:
    def test_it_holds_the_file_alone_and_lambda_may_read_it(self) -> None:
        with zipfile.ZipFile(io.BytesIO(zipped(SOURCE))) as archive:
            (entry,) = archive.infolist()
            assert archive.read(entry) == SOURCE.read_bytes()
        assert entry.filename == FILE_NAME
        assert stat.filemode(entry.external_attr >> 16) == "-rw-r--r--"

    def test_the_bytes_depend_on_the_source_only(self, tmp_path: Path) -> None:
        copy = tmp_path / "named-otherwise.py"
        copy.write_bytes(SOURCE.read_bytes())
        copy.chmod(0o600)
        os.utime(copy, (1, 1))
        assert zipped(copy) == zipped(SOURCE)


class TestCommand:
    def test_it_writes_the_file_and_says_what_comes_next(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert run_command(["lambda", "package"]) == 0
        content = (tmp_path / "forwarder.zip").read_bytes()
        assert content == zipped(SOURCE)
        out, err = capsys.readouterr()
        assert out.startswith("Wrote forwarder.zip (")
        assert b64encode(hashlib.sha256(content).digest()).decode() in out
        assert "sam deploy" in err and "fileb://forwarder.zip" in err

    def test_it_writes_where_it_is_told_and_over_an_older_one(self, tmp_path: Path) -> None:
        output = tmp_path / "other.zip"
        output.write_text("older")
        assert run_command(["lambda", "package", "--output", str(output)]) == 0
        assert output.read_bytes() == zipped(SOURCE)

    def test_a_place_that_cannot_be_written_is_an_error_in_words(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run_command(["lambda", "package", "--output", str(tmp_path / "no" / "f.zip")]) == 2
        assert "No such file or directory" in capsys.readouterr().err
