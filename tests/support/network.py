"""A world whose bucket is reached over HTTP: the real adapter, the whole engine, a server to spoil.

`world.bucket` holds the objects, `world.front` serves them; a test spoils what it serves.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from datasync.models.sync_models import Failure, Outcome, Run
from datasync.services.engine import ranges, scan, transfer_loop
from datasync.services.storage.bucket import Bucket, S3Bucket
from datasync.services.storage.s3.credentials import CredentialSource, source
from datasync.services.storage.s3.endpoint import S3Config
from tests.support.s3_front import S3Front
from tests.support.scripted_server import ScriptedServer
from tests.support.world import OPTIONS, World

ATTEMPTS = 2
PATIENCE_SECONDS = 1.0  # where a server is silent in a test, and much else goes on beside it
PROXIES = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


class NetworkWorld(World):
    """See `World`. `server`, `endpoint` and `credentials` count from the next `reopen` on."""

    def __init__(self, folder: Path) -> None:
        self.credentials: CredentialSource | None = source("AKIDEXAMPLE", "hush-secret")
        self.endpoint: str | None = None  # another one than that of `front`
        self.ca_bundle: str | None = None
        self.front: S3Front
        super().__init__(folder, replace(OPTIONS, attempts=ATTEMPTS))

    def server(self) -> ScriptedServer:
        return ScriptedServer()

    def port(self) -> Bucket:
        self.front = S3Front(self.bucket, self.server())
        config = S3Config(
            "bucket",
            endpoint_url=self.endpoint or self.front.url,
            credentials=self.credentials,
            ca_bundle=self.ca_bundle,
            timeout_seconds=self.options.timeout_seconds,
        )
        self.s3 = S3Bucket(config)
        return self.s3

    def close(self) -> None:
        super().close()
        self.s3.close()
        self.front.close()

    def set_patience(self, seconds: float) -> None:
        """How long nothing may move."""
        if seconds != self.options.timeout_seconds:
            self.reopen(timeout_seconds=seconds)

    def failed(self, run: Run) -> list[Outcome]:
        """The keys that failed in a run."""
        return [told for told in self.ledger.outcomes(run_id=run.id) if told.error]

    def failure(self, key: str) -> Failure:
        """What the service says of a key that failed."""
        (found,) = [failure for failure in self.ledger.failures() if failure.key == key]
        return found

    def recovers(self) -> None:
        """The fault has gone: the next run reaches equality, and says so."""
        self.front.heal()
        self.gets_equal()

    def gets_equal(self) -> None:
        """One run reaches equality, whatever it meets on the way, and says so."""
        assert self.sync().status == "success"
        self.assert_equal()
        assert self.in_sync


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NetworkWorld]:
    """No proxies, and no pauses between two tries: how long those are is tested elsewhere."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    for module in (ranges, scan, transfer_loop):
        monkeypatch.setattr(module, "pause_seconds", lambda *_: 0.0)
    made = NetworkWorld(tmp_path)
    yield made
    made.close()
