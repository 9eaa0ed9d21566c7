"""From the settings to the parts: what is set reaches the part that needs it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from datasync.composition import compose, preflight, s3_bucket
from datasync.config.settings import Settings
from datasync.errors import (
    AccessDenied,
    ConfigurationError,
    DiskFull,
    LedgerTaken,
    MirrorUnavailable,
)
from datasync.models.sync_models import ObjectRow, RunKind, RunStatus, Settlement, State
from datasync.services.storage.ledger import Ledger, sqlite_url
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


def elsewhere(server: ScriptedServer, folder: Path, name: str) -> Settings:
    """A directory whose ledger lies beside it."""
    database = SecretStr(sqlite_url(folder / "elsewhere.db"))
    return settings(server, folder / name, "").model_copy(update={"database_url": database})


def test_two_directories_never_share_one_ledger(server: ScriptedServer, tmp_path: Path) -> None:
    """What was proved of the files of one would be believed of those of the other."""
    one, two = (elsewhere(server, tmp_path, name) for name in ("one", "two"))
    bucket = FakeBucket()
    bucket.put("a", b"x", last_modified=1_700_000_000)
    first = compose(one, make_bucket=lambda _: bucket)
    first.service.run(RunKind.RECONCILE, "")
    with pytest.raises(ConfigurationError, match=f"another directory, {tmp_path / 'one'}"):
        compose(two)
    compose(one).close()  # a second process of the same service
    second = compose(two, adopt=True, make_bucket=lambda _: bucket)
    with pytest.raises(LedgerTaken, match="taken over by the service of another directory"):
        first.service.run(RunKind.RECONCILE, "")
    health = first.controller.health()
    assert "taken over" in health.message and str(tmp_path) not in health.message
    assert (health.status, health.in_sync) == ("unhealthy", False)
    first.close()
    second.service.run(RunKind.RECONCILE, "")
    second.close()
    with pytest.raises(ConfigurationError, match=f"another directory, {tmp_path / 'two'}"):
        compose(one)


def test_a_ledger_that_is_taken_over_is_believed_nothing(
    server: ScriptedServer, tmp_path: Path
) -> None:
    """The files of this directory are proved, and what is not ours stays, although the ledger had
    rows of the same names, sizes and dates."""
    bucket, moment = FakeBucket(), 1_700_000_000
    bucket.put("a", b"right", last_modified=moment)
    bucket.put("gone", b"theirs", last_modified=moment)
    first = compose(elsewhere(server, tmp_path, "one"), make_bucket=lambda _: bucket)
    first.service.run(RunKind.RECONCILE, "")
    first.close()
    bucket.delete("gone")
    root = tmp_path / "two"
    root.mkdir()
    for name, text in (("a", b"wrong"), ("gone", b"my own")):
        (root / name).write_bytes(text)
        os.utime(root / name, (moment, moment))
    second = compose(elsewhere(server, tmp_path, "two"), adopt=True, make_bucket=lambda _: bucket)
    assert not second.controller.health().in_sync
    run = second.service.run(RunKind.RECONCILE, "")
    assert (run.status, second.controller.health().in_sync) == (RunStatus.SUCCESS, True)
    second.close()
    assert (root / "a").read_bytes() == b"right"
    assert (root / "gone").read_bytes() == b"my own"


def test_an_update_of_the_ledger_on_a_disk_full_of_old_trash_makes_room_first(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = settings(server, tmp_path / "mirror", "")
    bucket = FakeBucket()
    bucket.put("a", b"x")
    bucket.put("b", b"x")
    parts = compose(here, make_bucket=lambda _: bucket)
    parts.service.run(RunKind.RECONCILE, "")
    bucket.delete("a")
    parts.service.run(RunKind.RECONCILE, "")
    assert len(parts.mirror.trash_entries()) == 1
    opened, root = Ledger.open, parts.mirror.root

    def full(url: str) -> Ledger:
        if any((root / ".datasync" / "trash").iterdir()):
            raise DiskFull("database or disk is full")
        return opened(url)

    parts.close()
    monkeypatch.setattr(Ledger, "open", full)
    with pytest.raises(DiskFull):
        compose(here)  # what went to the trash just now is nobody's to remove
    old = here.model_copy(update={"trash_retention_days": 0})
    parts = compose(old, make_bucket=lambda _: bucket)
    assert parts.mirror.trash_entries() == []
    parts.close()
