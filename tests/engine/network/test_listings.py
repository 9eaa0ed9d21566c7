"""A listing that goes wrong, and what a run makes of it: no delete, no success.

The table is `faults.py`. The pages of the listing hold one key each: `a` has changed, `c` has been
deleted, `d` has changed. The first page is right, so `a` is brought in any case.
"""

import pytest

from datasync.models.sync_models import RunStatus
from tests.engine.network.faults import ANSWERS, PAGES, Fault
from tests.support.network import ATTEMPTS, NetworkWorld
from tests.support.s3_front import TRULY, entry_of
from tests.support.scripted_server import Reply, answer
from tests.support.xml_pages import page

OLD, NEW = b"old", b"new"


@pytest.fixture
def listed(net: NetworkWorld) -> NetworkWorld:
    net.bucket.page_size = 1
    for key in "abcd":
        net.bucket.put(key, OLD)
    assert net.sync().status is RunStatus.SUCCESS
    for key in "ad":
        net.bucket.put(key, NEW)
    net.bucket.delete("c")
    return net


def assert_fails(net: NetworkWorld, fault: Fault) -> None:
    """The pages behind the first one are wrong, each time they are asked for."""
    net.front.server.requests.clear()
    net.front.script_list(TRULY, fault.reply)

    run = net.sync()

    assert run.status is RunStatus.FAILED
    assert run.error and fault.hint in (run.hint or ""), run
    assert net.tree() == {"a": NEW, "b": OLD, "c": OLD, "d": OLD}
    assert net.trash() == [] and net.ledger.planned_deletes(run.id) == []
    assert not net.in_sync
    # A server that is puzzled by a page's request is asked once more without its extras.
    assert 1 < net.front.pages() <= 1 + 2 * fault.tries + fault.repeats
    assert net.front.asked("c") == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_proves_nothing(listed: NetworkWorld, name: str) -> None:
    listed.set_patience(PAGES[name].patience)
    assert_fails(listed, PAGES[name])
    listed.recovers()
    assert listed.trash() == ["c"]


def test_an_answer_that_is_no_page(listed: NetworkWorld) -> None:
    """One after the other: what a run that failed leaves behind is what it found."""
    for fault in ANSWERS.values():
        listed.set_patience(fault.patience)
        assert_fails(listed, fault)
    listed.recovers()


def test_what_fails_once_costs_one_page_more(listed: NetworkWorld) -> None:
    for name, fault in {**ANSWERS, **PAGES}.items():
        if fault.tries == ATTEMPTS and fault.patience > 1.0 and not fault.repeats:
            listed.front.server.requests.clear()
            listed.front.script_list(TRULY, fault.reply, TRULY)
            listed.gets_equal()
            assert listed.front.pages() == 3 + 1, name


# A page that is whole and lies


def entries(net: NetworkWorld, keys: str) -> list[str]:
    return [entry_of(net.bucket.objects[key].listed(key)) for key in keys]


def shown(net: NetworkWorld, keys: str) -> Reply:
    """A listing of one page, whole and well-formed, of these keys in this order."""
    return answer("200 OK", page(*entries(net, keys)))


def test_a_listing_that_ends_early_deletes_nothing_and_is_no_success(net: NetworkWorld) -> None:
    """Each absent key is asked for; S3 has it, so the listing is not to be trusted in the rest."""
    for key in "abcd":
        net.bucket.put(key, OLD)
    net.sync()
    net.bucket.put("e", NEW)  # of which nobody hears
    net.front.script_list(shown(net, "ab"), TRULY)

    run = net.sync()

    assert (run.status, run.counts.deleted) == (RunStatus.PARTIAL, 0)
    assert run.error == "the listing left out 2 keys that S3 has: 'c', ..."
    assert "proxy" in (run.hint or "")
    assert set(net.tree()) == set("abcd") and not net.in_sync
    net.recovers()


def test_an_empty_listing_is_held_and_asks_for_nothing(listed: NetworkWorld) -> None:
    listed.front.server.requests.clear()
    listed.front.script_list(shown(listed, ""))

    run = listed.sync()

    assert (run.status, run.counts.deleted) == (RunStatus.HELD, 0)
    assert len(listed.front.server.requests) == 1
    assert not listed.in_sync
    listed.recovers()


def test_a_listing_in_any_order_is_compared_all_the_same(listed: NetworkWorld) -> None:
    listed.front.script_list(shown(listed, "dba"))
    listed.gets_equal()
    assert listed.trash() == ["c"]


def test_a_key_that_is_listed_twice_counts_once(listed: NetworkWorld) -> None:
    listed.front.server.requests.clear()
    listed.front.script_list(shown(listed, "aabddb"))

    listed.gets_equal()

    assert [len(listed.front.asked(key)) for key in "abcd"] == [1, 0, 1, 1]


def test_a_key_that_is_listed_in_two_versions_is_what_s3_sends(net: NetworkWorld) -> None:
    net.bucket.put("a", OLD)
    old = entries(net, "a")
    net.bucket.put("a", NEW)
    both = answer("200 OK", page(*entries(net, "a"), *old))
    net.front.script_list(both, both, TRULY)
    for _ in range(2):
        net.sync()
        assert net.tree() == {"a": NEW}
    net.gets_equal()
