"""The command line that asks a service: the same words, documents and exit codes as here."""

import os
import signal
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from datasync import composition
from datasync.cli import elsewhere
from datasync.cli.display import Lines
from datasync.composition import compose
from datasync.models.sync_models import RunStatus
from tests.http.test_client import url_of
from tests.http.test_roles import KEYS
from tests.support import fail
from tests.support.clients import VARIABLES
from tests.support.command_line import CommandLine, Ran, use_settings
from tests.support.fake_bucket import FakeBucket
from tests.support.service import BUCKET, Service, Starter
from tests.support.world import eventually


class Remote:
    """The command line with the address of a service, and without any setting."""

    def __init__(self, service: Service, run: CommandLine) -> None:
        self.service = service
        self.bucket = service.bucket
        self._run = run

    def __call__(self, *arguments: str) -> Ran:
        return self._run("--url", url_of(self.service), *arguments)


@pytest.fixture
def remote(
    start_service: Starter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Remote:
    bucket = FakeBucket()
    # The service's own lines would go to the stderr of the command: it is the same process.
    quiet = {"log_file": "", "log_level": "CRITICAL"}
    service = start_service(bucket, retry_attempts=1, max_file_size_mb=1, **quiet)
    for name in (*VARIABLES, "S3_BUCKET_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(elsewhere, "POLL_SECONDS", 0.02)
    return Remote(service, CommandLine(bucket, service.root, capsys))


@pytest.fixture
def beside(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """The command line of the machine where the service runs."""
    service = remote.service
    use_settings(
        monkeypatch,
        service.folder,
        S3_BUCKET_NAME=BUCKET,
        LOCAL_DOWNLOAD_DIR=str(service.root),
        LOG_FILE="",
        LOG_LEVEL="CRITICAL",
    )
    made = partial(compose, make_bucket=lambda _settings: service.bucket)
    monkeypatch.setattr(composition, "compose", made)
    return CommandLine(service.bucket, service.root, capsys)


def fill(bucket: FakeBucket) -> None:
    """A bucket of which a run leaves two keys failed, one archived, the others fine."""
    for key in ("a", "b/c d", "b/ü", "bad1", "bad2", "line\nfeed"):
        bucket.put(key, b"x")
    bucket.put("cold", b"x", storage_class="GLACIER")
    for key in ("bad1", "bad2"):
        bucket.script(key, fail.status(403, times=1000))


# The same as here

LOOKS = [
    ["files"],
    ["files", "--json"],
    ["files", "--limit", "2"],
    ["files", "--limit", "2", "--json"],
    ["files", "--prefix", "b/"],
    ["files", "--state", "archived", "--json"],
    ["files", "--state", "synced", "--limit", "2", "--json"],
    ["files", "--state", "synced", "--state", "failed", "--limit", "1"],
    ["files", "--state", "stale"],
    ["files", "--s3", "--json"],
    ["files", "--s3", "--state", "synced"],
    ["files", "--token", "nonsense"],
    ["runs"],
    ["runs", "--json"],
    ["runs", "--limit", "1", "--json"],
    ["runs", "1"],
    ["runs", "1", "--json"],
    ["runs", "99"],
    ["approve", "1"],
    ["approve", "99"],
    ["cancel", "1"],
    ["plan", "--prefix", "a"],
    ["retry", "x" * 2000],
]


@pytest.mark.parametrize("arguments", LOOKS, ids=lambda words: " ".join(words)[:40])
def test_a_command_says_the_same_as_beside_the_service(
    remote: Remote, beside: CommandLine, arguments: list[str]
) -> None:
    fill(remote.bucket)
    remote.service.sync()
    assert remote(*arguments) == beside(*arguments)


def test_failures_are_the_same(remote: Remote, beside: CommandLine) -> None:
    fill(remote.bucket)
    remote.service.sync()
    there, here = remote("failures", "--json"), beside("failures", "--json")
    assert (there.code, there.err) == (here.code, here.err) == (1, "")
    same = {"key", "state", "reason", "hint"}
    assert [[each[name] for name in same] for each in there.json["failures"]] == [
        [each[name] for name in same] for each in here.json["failures"]
    ]
    first = remote("failures", "--limit", "1")
    assert first.out.startswith("bad1\t")
    assert "There are more: the same command with --token " in first.err
    assert remote("failures", "--prefix", "a").code == 0


def test_status_is_as_beside_the_service(remote: Remote, beside: CommandLine) -> None:
    before = remote("status")
    assert (before.code, before.out.splitlines()[0]) == (1, "not in sync")
    remote.bucket.put("a", b"xyz")
    remote.service.sync()
    there, here = remote("status", "--json").json, beside("status", "--json").json
    assert (there.pop("engine"), here.pop("engine") is None) == (
        "runs in the process that answered",
        False,
    )
    assert there == here
    ran = remote("status")
    assert (ran.code, ran.out.splitlines()[0]) == (
        0,
        "in sync: the mirror is equal to the bucket",
    )


def test_a_long_listing_is_put_together_from_pages(
    remote: Remote, beside: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "PAGE", 3)
    for number in range(10):
        kind = "GLACIER" if number % 2 else "STANDARD"
        remote.bucket.put(f"k{number}", b"x", storage_class=kind)
        remote.service.sync()
    for arguments in (
        ["files", "--json"],
        ["files", "--limit", "7", "--json"],
        ["files", "--state", "synced", "--json"],
        ["files", "--state", "archived", "--limit", "2", "--json"],
        ["files", "--state", "archived", "--limit", "4", "--json"],
        ["files", "--state", "archived", "--limit", "5", "--json"],
        ["files", "--s3", "--limit", "5", "--json"],
        ["runs", "--limit", "8", "--json"],
        ["runs", "--json"],
    ):
        assert remote(*arguments) == beside(*arguments), arguments


# Runs


def test_sync_performs_a_run_there_and_says_how_it_ended(remote: Remote) -> None:
    remote.bucket.put("a.txt", b"one")
    ran = remote("sync")
    assert ran.code == 0, ran.err
    message, verdict = ran.out.splitlines()
    assert message.startswith("Synced 1 of 1 files in ")
    assert verdict == "The mirror is in sync with the bucket."
    assert f"The service at {url_of(remote.service)} is at run 1." in ran.err
    assert (remote.service.root / "a.txt").read_bytes() == b"one"


def test_sync_json_is_the_answer_of_the_service(remote: Remote) -> None:
    fill(remote.bucket)
    ran = remote("sync", "--json")
    assert ran.code == 1
    told = remote.service.parts.controller.response(1).model_dump(mode="json")
    assert ran.json == told
    assert [detail["status"] for detail in told["sync_details"]][:2] == ["failed", "failed"]


def test_sync_names_what_failed(remote: Remote) -> None:
    fill(remote.bucket)
    ran = remote("sync")
    assert ran.code == 1
    assert "failed: bad1: " in ran.out and "failed: bad2: " in ran.out
    remote.bucket.script_list(fail.status(403))
    assert "hint:" in remote("sync").err


def test_failing_keys_elsewhere_are_not_those_of_a_prefix(remote: Remote) -> None:
    fill(remote.bucket)
    assert remote("sync").code == 1
    assert remote("sync", "--prefix", "a").code == 0
    remote.bucket.delete("a")
    remote.bucket._scripts.clear()
    assert remote("sync", "--prefix", "bad").code == 0
    assert remote("sync").code == 0


def test_a_clean_run_over_failing_keys_says_why(remote: Remote) -> None:
    remote.bucket.put("grows", b"small")
    assert remote("sync").code == 0
    remote.bucket.put("grows", b"x" * (2**20 + 1))
    assert remote("sync").code == 1
    ran = remote("sync")
    assert ran.code == 1
    assert "- 1 key failed, see datasync failures" in ran.out.splitlines()
    assert "in sync" not in ran.out
    assert "Nothing to download or delete; 1 key is failing" in remote("plan").err
    assert remote("plan", "--json").json["failing"] == 1


def test_plan_shows_what_a_run_would_do(remote: Remote) -> None:
    remote.bucket.put("kept", b"x")
    remote.bucket.put("gone", b"x")
    assert remote("sync").code == 0
    remote.bucket.delete("gone")
    remote.bucket.put("new", b"12345")
    ran = remote("plan")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "delete\tgone\t\tno longer in the bucket",
        "download\tnew\t\tnew in the bucket",
    ]
    assert "Planned: 1 download, 1 delete. Nothing was changed." in ran.err
    document = remote("sync", "--dry-run", "--json").json
    assert (document["counts"]["download"], document["counts"]["delete"]) == (1, 1)
    assert (document["bytes_planned"], document["held"]) == (None, None)
    assert document["complete"] is True
    assert document["actions"][1]["key"] == "new"
    part = remote("plan", "--limit", "1", "--json").json
    assert (len(part["actions"]), part["complete"], part["counts"]["download"]) == (1, False, 1)
    assert part["bytes_planned"] is None
    assert "Planned: 1 download, 1 delete. " in remote("plan", "--limit", "1").err


def test_a_plan_that_is_too_long_to_be_told_is_counted(remote: Remote) -> None:
    for number in range(1001):
        remote.bucket.put(f"k{number:04}", b"x")
    ran = remote("plan", "--limit", "5")
    assert "... and 996 more" in ran.err
    assert "Planned: 1,001 download." in ran.err


def test_a_held_run_is_seen_applied_and_rejected(remote: Remote) -> None:
    for number in range(40):
        remote.bucket.put(f"k{number:02}", b"x")
    assert remote("sync").code == 0
    for number in range(15):
        remote.bucket.delete(f"k{number:02}")
    plan = remote("plan")
    assert plan.code == 2 and "would be held" in plan.err
    held = remote("sync")
    assert held.code == 2
    assert "Apply: datasync approve 2" in held.err
    assert remote("status").code == 2
    assert "- run 2 is held and waits for approval" in remote("status").out
    shown = remote("runs", "2", "--limit", "3")
    assert shown.out.count("would delete") == 3
    assert "15 deletes in all; --limit shows more" in shown.err
    assert remote("cancel", "2").out == "Run 2 is cancelled. Its 15 deletes will not be done.\n"
    assert remote("sync").code == 2
    applied = remote("approve", "3", "--json")
    assert (applied.code, applied.json["run_id"]) == (0, 3)
    assert applied.json["successful_operations"] == 15
    assert remote("approve", "3").code == 2
    assert remote("status").code == 0


def test_retry_asks_the_service(remote: Remote) -> None:
    fill(remote.bucket)
    assert remote("sync").code == 1
    remote.bucket._scripts.clear()
    assert remote("retry").out == "Queued 2 keys to try again\n"
    assert remote("retry", "a", "--json").json["status"] == "accepted"
    eventually(lambda: remote("failures").code == 0)


def test_a_prefix_outside_of_the_mirrored_one_is_refused(
    start_service: Starter, remote: Remote, capsys: pytest.CaptureFixture[str]
) -> None:
    remote.service.stop()
    service = start_service(remote.bucket, s3_prefix="in/", local_download_dir="other")
    other = Remote(service, CommandLine(service.bucket, service.root, capsys))
    for command in ("sync", "plan", "files", "failures"):
        ran = other(command, "--prefix", "out/")
        assert ran.code == 2, command
        assert "outside S3_PREFIX" in ran.err


@pytest.fixture
def watched(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A run that hangs; the event is set when the command watches it."""
    gate, watching = threading.Event(), threading.Event()
    monkeypatch.setattr(Lines, "show", lambda _self, _run: watching.set())
    remote.bucket.put("a", b"1")
    remote.bucket.script_list(fail.pause_until(gate))
    yield watching
    gate.set()
    remote.service.run_ended(1)
    assert remote.service.parts.ledger.run(1).status is RunStatus.SUCCESS


def test_ctrl_c_stops_watching_not_the_run(remote: Remote, watched: threading.Event) -> None:
    def interrupt() -> None:
        if watched.wait(10.0):
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        ran = remote("sync")
    finally:
        thread.join()
    assert ran.code == 130
    assert "Run 1 goes on; stop it: datasync cancel 1" in ran.err


# Who may, and what cannot be


def test_the_key_is_the_environments(
    start_service: Starter, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    service = start_service(api_keys=tuple(KEYS.values()))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    run: Any = CommandLine(service.bucket, service.root, capsys)
    monkeypatch.setenv("DATASYNC_URL", url_of(service))
    unknown = run("status")
    assert (unknown.code, unknown.out) == (2, "")
    assert "error: this service needs a key" in unknown.err
    monkeypatch.setenv("DATASYNC_API_KEY", "the-secret-of-read")
    assert run("status").code == 1
    refused = run("sync")
    assert refused.code == 2
    assert "may not operate" in refused.err and "the-secret" not in refused.err
    monkeypatch.setenv("DATASYNC_API_KEY", "the-secret-of-operate")
    assert run("sync").code == 0


def test_a_service_that_is_not_there(remote: Remote) -> None:
    remote.service.stop()
    ran = remote("runs")
    assert ran.code == 1
    assert ran.err.startswith("error: no connection to http://127.0.0.1:")
    assert "hint:  Is the service running" in ran.err


def test_an_address_that_is_none_is_refused(remote: Remote) -> None:
    ran = remote._run("--url", "localhost:8888", "status")
    assert ran.code == 2
    assert ran.err.startswith("datasync: the address of the service must be http://")


@pytest.mark.parametrize(
    "command",
    ["serve", "demo", "demo env", "verify", "trash list", "trash restore x", "doctor"]
    + ["keys list", "keys new a --role read", "lambda package", "sync --adopt", "top", "logs"]
    + ["config show", "config check"],
)
def test_what_is_for_one_machine_alone_says_so(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for ran in (
        remote(*command.split()),
        _with_variable(remote, monkeypatch, *command.split()),
    ):
        assert (ran.code, ran.out) == (64, "")
        assert "--url" in ran.err and "machine" in ran.err
    assert remote(*command.split(), "--help").code == 0


def _with_variable(remote: Remote, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Ran:
    monkeypatch.setenv("DATASYNC_URL", url_of(remote.service))
    return remote._run(*arguments)


def test_an_empty_address_is_this_machine(
    remote: Remote, beside: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATASYNC_URL", "http://127.0.0.1:1")
    assert beside("--url", "", "runs").code == 0
    assert beside("--url", "", "keys", "list").code == 0
    assert beside("runs").code == 1
