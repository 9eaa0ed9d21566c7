"""A directory for the doctor to look at, with settings of its own and no service."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datasync.composition import bucket_identity
from datasync.config.settings import Settings
from datasync.doctor.disk_checks import DiskChecks
from datasync.doctor.probe import ProbeFolder
from datasync.services.storage.mirror import Mirror
from datasync.utils.file_utils import DiskCalls
from tests.support.command_line import use_settings


class Patient:
    """A directory, and the checks of it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "deep" / "mirror"
        self.settings = settings_of(self.root)
        self.probe = ProbeFolder(self.root)

    def checks(self, calls: DiskCalls | None = None) -> DiskChecks:
        return DiskChecks(self.settings, self.probe, calls)

    def prepare(self) -> None:
        """Make the directory a mirror, as a first start does."""
        with Mirror(self.root) as mirror:
            mirror.prepare(bucket_identity=bucket_identity(self.settings))

    def below(self) -> list[str]:
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob("*"))


def settings_of(root: Path, **changes: Any) -> Settings:
    return Settings(
        **{"s3_bucket_name": "my-bucket", "local_download_dir": root, "log_file": None, **changes}
    )


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Patient]:
    use_settings(monkeypatch, tmp_path, DURABILITY="group")
    made = Patient(tmp_path)
    yield made
    made.probe.close()
