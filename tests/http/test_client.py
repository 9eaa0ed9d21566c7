"""Both Python clients against the real service: every verb, every role, what is not possible."""

import threading
from pathlib import Path
from typing import Any

import pytest

from datasync.client import (
    BadRequest,
    ClientSetupError,
    Conflict,
    Forbidden,
    NotFound,
    ServiceUnreachable,
    Unauthorized,
    WaitTimeout,
    changed,
)
from datasync.models.access import hashed
from datasync.models.s3_models import HealthStatus, SyncStatus
from tests.http.test_roles import KEYS
from tests.support import fail
from tests.support.clients import Connect
from tests.support.fake_bucket import FakeBucket
from tests.support.service import BUCKET, Service, Starter
from tests.support.world import eventually


def url_of(service: Service) -> str:
    return f"http://127.0.0.1:{service.port}"


@pytest.fixture
def client(connect: Connect, service: Service) -> Any:
    return connect(url_of(service))


@pytest.fixture
def held(service: Service) -> int:
    """The id of a run that waits for approval of fifteen deletes."""
    for number in range(20):
        service.bucket.put(f"k{number:02}", b"x")
    assert service.sync()["status"] == "success"
    for number in range(15):
        service.bucket.delete(f"k{number:02}")
    answer = service.sync()
    assert answer["status"] == "held"
    return int(answer["run_id"])


# Work


def test_a_trigger_answers_when_the_mirror_is_equal(client: Any, service: Service) -> None:
    service.bucket.put("a.txt", b"one")
    planned = client.trigger(dry_run=True)
    assert (planned.run_id, planned.in_sync) == (None, False)
    assert [detail.file_key for detail in planned.sync_details] == ["a.txt"]
    answer = client.trigger()
    assert (answer.status, answer.in_sync) == (SyncStatus.SUCCESS, True)
    assert (service.root / "a.txt").read_bytes() == b"one"


def test_a_run_in_the_background_is_waited_for(client: Any, service: Service) -> None:
    gate = threading.Event()
    service.bucket.put("in/a", b"1")
    service.bucket.put("out/b", b"2")
    service.bucket.script_list(fail.pause_until(gate))
    try:
        answer = client.trigger("in/", background=True)
        assert answer.status == SyncStatus.ACCEPTED
        with pytest.raises(WaitTimeout) as caught:
            client.wait_for_run(answer.run_id, timeout_seconds=0.3)
        assert f"run {answer.run_id} is " in caught.value.detail
    finally:
        gate.set()
    run = client.wait_for_run(answer.run_id, timeout_seconds=30)
    assert (run.status, run.prefix, run.downloaded) == ("success", "in/", 1)
    assert [detail.file_key for detail in run.sync_details] == ["in/a"]


def test_a_trigger_can_be_waited_for_not_too_long(client: Any, service: Service) -> None:
    gate = threading.Event()
    service.bucket.script_list(fail.pause_until(gate))
    try:
        with pytest.raises(ServiceUnreachable, match="in time"):
            client.trigger(timeout_seconds=0.3)
    finally:
        gate.set()
    assert client.wait_for_run(1, timeout_seconds=30).status == "success"
    assert len(list(client.runs())) == 1  # sent once, whatever became of the answer


def test_being_in_sync_is_waited_for(client: Any, service: Service) -> None:
    with pytest.raises(WaitTimeout, match="not in sync"):
        client.wait_until_in_sync(timeout_seconds=0.2)
    client.trigger(background=True)
    assert client.wait_until_in_sync(timeout_seconds=30).in_sync is True


def test_an_event_is_handed_in(client: Any, service: Service) -> None:
    service.bucket.put("sp ce/ü+%.txt", b"x")
    answer = client.notify(changed(BUCKET, "sp ce/ü+%.txt"), wait_seconds=20)
    assert answer.status == SyncStatus.SUCCESS
    assert (service.root / "sp ce/ü+%.txt").read_bytes() == b"x"
    assert client.notify(changed(BUCKET, "other")).status == SyncStatus.ACCEPTED
    with pytest.raises(BadRequest) as caught:
        client.notify(changed("another-bucket", "a"))
    assert (caught.value.status, caught.value.error) == (400, "ForeignBucket")


@pytest.mark.parametrize("notification", ["{", b"[1"])
def test_a_notification_is_sent_as_it_is(client: Any, notification: str | bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        client.notify(notification)
    assert caught.value.error == "MalformedRequest"


# Reading


def test_health_and_figures(client: Any, service: Service) -> None:
    service.bucket.put("a", b"xyz")
    client.trigger()
    assert client.health().status is HealthStatus.HEALTHY
    assert (client.stats().objects, client.stats().bytes) == (1, 3)


def test_an_unhealthy_service_is_an_answer(client: Any, service: Service) -> None:
    service.bucket.script_check(*[fail.status(403)] * 3)
    report = client.health()
    assert report.status is HealthStatus.UNHEALTHY
    assert "S3 is not reachable" in report.message


def test_a_large_listing_comes_in_pages(connect: Connect, start_service: Starter) -> None:
    bucket = FakeBucket()
    for number in range(1500):
        bucket.put(f"k{number:04}", b"x")
    bucket.put("other", b"x")
    service = start_service(bucket, durability="none")
    client = connect(url_of(service))
    assert client.trigger().successful_operations == 1501
    keys = [f"k{number:04}" for number in range(1500)]
    assert [entry.key for entry in client.files()] == [*keys, "other"]
    assert [entry.key for entry in client.files("k")] == keys
    bucket.put("new", b"x")
    assert sum(1 for _ in client.files("k", source="s3")) == 1500
    assert [entry.state for entry in client.files("new", source="s3")] == [None]
    page = client.file_page("k", limit=7)
    assert [entry.key for entry in page.files] == keys[:7]
    assert client.file_page("k", token=page.next_token, limit=1).files[0].key == keys[7]
    with pytest.raises(BadRequest):
        client.file_page(token="nonsense")


def test_a_listing_has_the_wanted_states_only(client: Any, service: Service) -> None:
    for number in range(4):
        service.bucket.put(
            f"k{number}", b"x", storage_class="GLACIER" if number % 2 else "STANDARD"
        )
    client.trigger()
    assert [entry.key for entry in client.files(states=["archived"])] == ["k1", "k3"]
    assert len(list(client.files(states=["archived", "synced"]))) == 4
    assert list(client.files("k2", states=["archived"])) == []
    page = client.file_page(states=["synced"], limit=1)
    assert [entry.key for entry in page.files] == ["k0"]
    rest = client.file_page(states=["synced"], token=page.next_token)
    assert [entry.key for entry in rest.files] == ["k2"]
    with pytest.raises(BadRequest):
        client.file_page(states=["nonsense"])
    with pytest.raises(BadRequest):
        client.file_page(source="s3", states=["synced"])


def test_runs_are_listed_and_shown(client: Any) -> None:
    ids = [client.trigger().run_id for _ in range(3)]
    assert [run.id for run in client.runs()] == ids[::-1]
    page = client.run_page(limit=2)
    assert [run.id for run in client.run_page(before=page.next_before).runs] == ids[:1]
    assert client.progress(ids[1]).id == client.run(ids[1]).id == ids[1]
    for ask in (client.run, client.progress, client.wait_for_run, client.approve, client.cancel):
        with pytest.raises(NotFound) as caught:
            ask(99)
        assert (caught.value.status, caught.value.error) == (404, "RunMissing")


def test_a_held_run_is_approved_once(client: Any, service: Service, held: int) -> None:
    assert client.health().held_run == held
    assert len(client.run(held).planned_deletes) == 15
    assert client.wait_for_run(held, timeout_seconds=5).status == "held"
    assert client.approve(held).approved is True
    assert client.wait_for_run(held, timeout_seconds=30).status == "success"
    assert len(list(client.files())) == 5
    with pytest.raises(Conflict) as caught:
        client.approve(held)
    assert (caught.value.status, caught.value.error) == (409, "RunNotHeld")
    assert caught.value.hint and str(caught.value).endswith(caught.value.hint)


def test_a_held_run_is_cancelled(client: Any, held: int) -> None:
    assert client.cancel(held).status == "cancelled"
    assert len(list(client.files())) == 20


def test_failures_are_listed_and_tried_again(client: Any, service: Service) -> None:
    for key in ("bad1", "bad2", "other"):
        service.bucket.put(key, b"x")
        service.bucket.script(key, fail.status(403, times=50))
    service.bucket.put("good", b"x")
    assert client.trigger().status == SyncStatus.PARTIAL
    assert [entry.key for entry in client.failures()] == ["bad1", "bad2", "other"]
    assert [entry.key for entry in client.failures("bad")] == ["bad1", "bad2"]
    page = client.failure_page(limit=2)
    assert [entry.key for entry in client.failure_page(token=page.next_token).failures] == ["other"]
    service.bucket._scripts.clear()
    assert client.retry(iter(["bad1"])).message == "Queued 1 key to try again"
    assert client.retry().status == SyncStatus.ACCEPTED
    client.trigger()
    assert list(client.failures()) == []
    with pytest.raises(BadRequest):
        client.retry(["x" * 2000])


def test_what_was_done_is_listed_key_by_key(client: Any, service: Service) -> None:
    for number in range(5):
        service.bucket.put(f"k{number}", b"xyz")
    first = client.trigger().run_id
    keys = {entry.key for entry in client.outcomes()}
    assert keys == {entry.key for entry in client.outcomes(run_id=first)} and len(keys) == 5
    newest = next(iter(client.outcomes())).id
    service.bucket.put("k3", b"new")
    second = client.trigger().run_id
    assert [entry.key for entry in client.outcomes(after=newest)] == ["k3"]
    history = list(client.outcomes("k3"))
    assert [entry.run_id for entry in history] == [second, first]
    assert (history[0].operation, history[0].verdict, history[0].bytes) == ("download", "md5", 3)
    page = client.outcome_page(limit=4)
    rest = client.outcome_page(before=page.next_before, limit=4)
    ids = [entry.id for entry in [*page.outcomes, *rest.outcomes]]
    assert len(ids) == 6 and ids == sorted(ids, reverse=True) and rest.next_before is None
    with pytest.raises(BadRequest):
        client.outcome_page(limit=0)


def test_what_was_done_is_told_in_figures(client: Any, service: Service) -> None:
    service.bucket.put("a", b"xyz")
    client.trigger()
    for span, seconds in (("hour", 60), ("day", 900), ("week", 3600)):
        told = client.activity(span)
        assert (told.span, told.step_seconds) == (span, seconds)
        assert sum(step.bytes for step in told.steps) == 3
    assert client.activity() == client.activity("hour")
    assert client.transfers().transfers == []


def test_what_was_taken_away_is_brought_back(client: Any, service: Service) -> None:
    for key in ("a/1", "a/2", "b", "stays"):
        service.bucket.put(key, key.encode())
    client.trigger()
    for key in ("a/1", "a/2", "b"):
        service.bucket.delete(key)
    run = client.trigger().run_id
    assert sorted(file.path for file in client.trash()) == ["a/1", "a/2", "b"]
    assert list(client.trash(why="events")) == []
    (file,) = client.trash("b", why=f"run-{run}")
    page = client.trash_page("a/", limit=1)
    assert len(page.files) == len(client.trash_page("a/", token=page.next_token).files) == 1

    (back,) = client.restore(iter([file.id])).restored
    assert (back.path, back.error, back.stays) == ("b", None, True)
    assert (service.root / "b").read_bytes() == b"b"
    told = client.restore(prefix="a/", run_id=run)
    assert sorted(each.path for each in told.restored) == ["a/1", "a/2"]
    assert list(client.trash()) == []
    for wrong in ({}, {"ids": [file.id], "prefix": "a/"}, {"ids": ["nonsense"], "why": "events"}):
        with pytest.raises(BadRequest):
            client.restore(**wrong)
    assert client.restore(prefix="", run_id=99).restored == []
    with pytest.raises(NotFound):
        client.restore([file.id])  # it is no longer there


def test_a_file_that_is_there_is_replaced_only_on_demand(client: Any, service: Service) -> None:
    service.bucket.put("stays", b"")
    for body in (b"old", None, b"new"):
        if body is None:
            service.bucket.delete("a")
        else:
            service.bucket.put("a", body)
        client.trigger()
    (file,) = client.trash()
    (refused,) = client.restore([file.id]).restored
    assert refused.error and (service.root / "a").read_bytes() == b"new"
    (back,) = client.restore([file.id], overwrite=True).restored
    assert (back.error, back.stays) == (None, False)
    assert (service.root / "a").read_bytes() == b"old"


@pytest.mark.parametrize("ask", ["files", "failures", "trigger", "outcomes", "trash"])
def test_what_is_no_text_is_no_key(client: Any, ask: str) -> None:
    with pytest.raises(BadRequest) as caught:
        list(getattr(client, ask)("half \ud800 a character"))
    assert caught.value.status is None


# Who asks


def test_each_role_may_what_it_may(connect: Connect, start_service: Starter) -> None:
    service = start_service(api_keys=tuple(KEYS.values()))
    by_role = {role: connect(url_of(service), f"the-secret-of-{role}") for role in KEYS}
    for role in ("read", "operate", "admin"):
        assert by_role[role].health().in_sync is False
    assert by_role["notify"].notify(changed(BUCKET, "a")).status == SyncStatus.ACCEPTED
    assert by_role["operate"].trigger().status == SyncStatus.SUCCESS
    for role, ask in (("read", "trigger"), ("notify", "health"), ("read", "retry")):
        with pytest.raises(Forbidden) as caught:
            getattr(by_role[role], ask)()
        assert caught.value.status == 403
        assert f"has the role {role}" in caught.value.detail


@pytest.mark.parametrize("key", [None, "wrong"])
def test_without_a_right_key_nothing_is_told(
    connect: Connect, start_service: Starter, key: str | None
) -> None:
    service = start_service(api_keys=tuple(KEYS.values()))
    with pytest.raises(Unauthorized) as caught:
        connect(url_of(service), key).stats()
    error = caught.value
    assert (error.status, error.error) == (401, "Unauthorized")
    assert error.hint.startswith("Send one of API_KEYS")
    # Written down when the answer is out already.
    eventually(lambda: f'"request_id": "{error.request_id}"' in service.log())


def test_a_key_of_any_characters(connect: Connect, start_service: Starter) -> None:
    service = start_service(api_keys=(f"odd:{hashed('schlüssel 🔑')}:read",))
    client = connect(url_of(service), "schlüssel 🔑")
    assert client.stats().objects == 0
    assert "schl" not in repr(vars(client))


def test_address_and_key_come_from_the_environment(
    connect: Connect, start_service: Starter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    service = start_service(api_keys=tuple(KEYS.values()))
    monkeypatch.setenv("DATASYNC_URL", f"{url_of(service)}/")
    with pytest.raises(Unauthorized):
        connect().health()
    file = tmp_path / "key"
    file.write_text("the-secret-of-read\n")
    monkeypatch.setenv("DATASYNC_API_KEY_FILE", str(file))
    assert connect().url == url_of(service)
    assert connect().health().in_sync is False
    monkeypatch.setenv("DATASYNC_API_KEY", "the-secret-of-read")
    with pytest.raises(ClientSetupError, match="both set"):
        connect()
    monkeypatch.delenv("DATASYNC_API_KEY_FILE")
    assert connect().health().in_sync is False
    with pytest.raises(Unauthorized):
        connect(api_key="").health()


# A service that is not there


def test_a_service_that_goes_away(connect: Connect, start_service: Starter) -> None:
    service = start_service()
    client = connect(url_of(service), retries=1)
    assert client.trigger().status == SyncStatus.SUCCESS
    service.stop()
    for ask in (client.health, client.trigger, client.wait_until_in_sync):
        with pytest.raises(ServiceUnreachable) as caught:
            ask()
        assert caught.value.status is None
        assert url_of(service) in str(caught.value)
