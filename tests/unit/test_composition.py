"""From the settings to the parts: what is set reaches the part that needs it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from datasync.composition import compose, preflight, s3_bucket
from datasync.config.settings import Settings
from datasync.errors import AccessDenied, ConfigurationError, LedgerError, MirrorUnavailable
from datasync.models.sync_models import ObjectRow, RunKind, Settlement, State
from datasync.services.storage.ledger import sqlite_url
from tests.support.fake_bucket import FakeBucket
from tests.support.scripted_server import Peer, ScriptedServer, Seen, answer, refuse
from tests.support.xml_pages import page


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ScriptedServer() as server:
        yield server


def settings(server: ScriptedServer, folder: Path, prefix: str) -> Settings:
    return Settings(
        s3_bucket_name="bucket",
        aws_endpoint_url_s3=server.url,
        aws_access_key_id=SecretStr("key"),
        aws_secret_access_key=SecretStr("secret"),
        local_download_dir=folder,
        s3_prefix=prefix,
    )


def below_team(peer: Peer, seen: Seen) -> bool:
    """A policy that allows to list below `team/` and nowhere else."""
    allowed = answer("200 OK", page(Prefix="team/"))
    return (allowed if "prefix=team%2F" in seen.target else refuse("403 X", "AccessDenied"))(
        peer, seen
    )


def test_the_check_asks_for_what_a_policy_for_the_prefix_allows(
    server: ScriptedServer, tmp_path: Path
) -> None:
    server.script(below_team)
    narrow = s3_bucket(settings(server, tmp_path, "team/"))
    narrow.check(10.0)
    narrow.close()

    wide = s3_bucket(settings(server, tmp_path, ""))
    with pytest.raises(AccessDenied):
        wide.check(10.0)
    wide.close()


def test_a_bare_mount_point_is_not_made_a_mirror(server: ScriptedServer, tmp_path: Path) -> None:
    """A ledger elsewhere remembers that there must be one."""
    database = SecretStr(sqlite_url(tmp_path / "elsewhere.db"))
    mounted = settings(server, tmp_path / "mirror", "").model_copy(
        update={"database_url": database}
    )
    parts = compose(mounted)
    row = ObjectRow("a", "e", 1, 0, State.SYNCED, path="a", local_size=1, mtime_ns=0)
    parts.ledger.settle(Settlement(rows=(row,)))
    parts.close()
    (tmp_path / "mirror").rename(tmp_path / "unmounted")
    for bare in (False, True):
        if bare:
            (tmp_path / "mirror").mkdir()
        for start in (preflight, compose):
            with pytest.raises(MirrorUnavailable, match="the ledger knows the files"):
                start(mounted)
    assert list((tmp_path / "mirror").iterdir()) == []
    (tmp_path / "mirror").rmdir()
    (tmp_path / "unmounted").rename(tmp_path / "mirror")
    compose(mounted).close()
    (tmp_path / "mirror").rename(tmp_path / "gone for good")
    compose(mounted, adopt=True).close()
    preflight(mounted)


def test_two_directories_never_share_one_ledger(server: ScriptedServer, tmp_path: Path) -> None:
    """What was proved of the files of one would be believed of those of the other."""
    database = SecretStr(sqlite_url(tmp_path / "elsewhere.db"))
    one, two = (
        settings(server, tmp_path / name, "").model_copy(update={"database_url": database})
        for name in ("one", "two")
    )
    bucket = FakeBucket()
    first = compose(one, make_bucket=lambda _: bucket)
    with pytest.raises(ConfigurationError, match=f"another directory, {tmp_path / 'one'}"):
        compose(two)
    compose(one).close()  # a second process of the same service
    compose(two, adopt=True).close()
    with pytest.raises(LedgerError, match=f"taken over by the service of {tmp_path / 'two'}"):
        first.service.run(RunKind.RECONCILE, "")
    health = first.controller.health()
    assert "taken over" in health.message
    assert (health.status, health.in_sync) == ("unhealthy", False)
    first.close()
    with pytest.raises(ConfigurationError, match="another directory"):
        compose(one)
