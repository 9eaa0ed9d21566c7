"""The command line in this process, over a `FakeBucket`, with settings of its own."""

import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from datasync import composition
from datasync.composition import Components, compose
from datasync.cli.entry import run_command
from datasync.config.loading import load_settings
from datasync.config.settings import Settings
from tests.support.fake_bucket import FakeBucket

BUCKET = "datasync-demo"


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class CommandLine:
    """Runs `datasync` commands; each opens and closes its own parts, as the real process does."""

    def __init__(
        self, bucket: FakeBucket, root: Path, capsys: pytest.CaptureFixture[str] | None
    ) -> None:
        self.bucket = bucket
        self.root = root
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Ran:
        assert self._capsys is not None
        self._capsys.readouterr()
        code = run_command(arguments)
        captured = self._capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    def parts(self) -> Components:
        """Parts of another process on the same directory; the caller closes them."""
        return compose(load_settings(), make_bucket=lambda _settings: self.bucket)

    def files(self) -> dict[str, bytes]:
        """Every file of the mirror by path, without our own folder."""
        found = (path for path in self.root.rglob("*") if path.is_file())
        named = {path.relative_to(self.root).as_posix(): path for path in found}
        return {
            name: path.read_bytes()
            for name, path in named.items()
            if not name.startswith(".datasync/")
        }


def use_settings(monkeypatch: pytest.MonkeyPatch, folder: Path, **variables: str) -> None:
    """An environment with these settings only, in an empty working directory."""
    for name in list(os.environ):
        if name.lower() in Settings.model_fields or name.startswith("DATASYNC_"):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    given = {
        "S3_BUCKET_NAME": BUCKET,
        "LOCAL_DOWNLOAD_DIR": str(folder / "mirror"),
        "LOG_FILE": str(folder / "datasync.log"),
        "DURABILITY": "none",
        **variables,
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """The command line over an empty bucket and an empty mirror."""
    bucket = FakeBucket()
    use_settings(monkeypatch, tmp_path)
    monkeypatch.setattr(
        composition, "compose", partial(compose, make_bucket=lambda _settings: bucket)
    )
    return CommandLine(bucket, tmp_path / "mirror", capsys)
