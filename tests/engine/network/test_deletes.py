"""S3 is asked before a file is removed, and every answer but its own 404 keeps the file.

The table is `faults.py`. `gone` is not in the listing any more, and the question is a GET with
the ETag that is held: one request finds out whether the object is gone, unchanged or another one.
"""

import pytest

from datasync.models.sync_models import RunStatus
from tests.engine.network.faults import ANSWERS, OBJECT_ANSWERS, Fault
from tests.support.network import PATIENCE_SECONDS, NetworkWorld
from tests.support.scripted_server import answer, error_document
from tests.support.world import eventually

BODY = b"kept until S3 says that it is gone"


FAULTS = ANSWERS | OBJECT_ANSWERS


@pytest.fixture
def deleted(net: NetworkWorld) -> NetworkWorld:
    return delete(net, "gone")


def delete(net: NetworkWorld, *keys: str) -> NetworkWorld:
    """These are held and have been deleted in the bucket; `b` has changed."""
    for key in (*keys, "b"):
        net.bucket.put(key, BODY)
    assert net.sync().status is RunStatus.SUCCESS
    for key in keys:
        net.bucket.delete(key)
    net.bucket.put("b", b"new")
    net.front.server.requests.clear()
    return net


def assert_kept(net: NetworkWorld, key: str, fault: Fault) -> None:
    assert net.tree()[key] == BODY and key not in net.trash()
    failure = net.failure(key)
    assert failure.reason and fault.hint in (failure.hint or ""), key
    assert fault.allows(len(net.front.asked(key))), key
    assert not net.in_sync


def test_no_other_answer_removes_a_file(net: NetworkWorld) -> None:
    """Every fault lasts, each at a key of its own, in one run; `gone` has none."""
    net.reopen(timeout_seconds=PATIENCE_SECONDS, delete_limit_files=1000)
    delete(net, "gone", *FAULTS)
    for name, fault in FAULTS.items():
        net.front.script(name, fault.reply)

    run = net.sync()

    assert (run.status, run.counts.deleted) == (RunStatus.PARTIAL, 1)
    errors = {name: fault.error.__name__ for name, fault in FAULTS.items()}
    assert {told.key: told.error for told in net.failed(run)} == errors
    assert net.tree()["b"] == b"new" and net.trash() == ["gone"]
    for name, fault in FAULTS.items():
        assert_kept(net, name, fault)
    net.recovers()
    assert len(net.trash()) == len(FAULTS) + 1


@pytest.mark.parametrize("name", ["404 of a proxy", "404 about another key", "403", "500"])
def test_an_event_removes_no_more_than_a_run(deleted: NetworkWorld, name: str) -> None:
    net, fault = deleted, FAULTS[name]
    net.front.script("gone", fault.reply)
    net.service.mark([("gone", "ObjectRemoved:Delete")])
    net.service.start()

    eventually(lambda: net.ledger.failures())

    assert_kept(net, "gone", fault)
    net.front.heal()
    net.service.mark([("gone", "ObjectRemoved:Delete")])
    eventually(lambda: net.trash() == ["gone"])


def test_the_question_is_one_request_that_brings_no_body(deleted: NetworkWorld) -> None:
    deleted.recovers()

    (seen,) = deleted.front.asked("gone")
    assert seen.method == "GET" and "if-none-match" in seen.headers


@pytest.mark.parametrize(
    "told",
    ["<Key>gone</Key>", "<Key>/gone</Key>", "<Key>%67one</Key>", "<Key/>", ""],
    ids=["raw", "with a slash", "encoded", "empty", "untold"],
)
def test_a_404_may_name_the_key_as_servers_do(deleted: NetworkWorld, told: str) -> None:
    missing = answer("404 Not Found", error_document("NoSuchKey", extra=told))
    deleted.front.script("gone", missing)

    run = deleted.sync()

    assert (run.status, run.counts.deleted) == (RunStatus.SUCCESS, 1)
