"""What every ledger does with rows: order, ranges, prefixes, hostile keys, paging."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from datasync.errors import KeyRejected
from datasync.models.sync_models import ObjectRow, Settlement, State, Verdict
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.ledger.database import fetch
from datasync.services.storage.ledger.tables import objects

# One ledger serves all examples of a test, which clear it; each suite runs on two databases.
SHARED = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
CHARACTERS = st.characters(codec="utf-8")
KEYS = st.text(CHARACTERS, min_size=1, max_size=6) | st.text(
    "ab/%_\x00'\"\u00e9\U0010ffff", min_size=1
)


def row(key: str, state: State = State.SYNCED, size: int = 3) -> ObjectRow:
    """A row of a key; with a file on disk when it is synced or stale."""
    held = state in (State.SYNCED, State.STALE)
    return ObjectRow(
        key=key,
        etag=f"etag-of-{size}",
        size=size,
        last_modified=1_700_000_000,
        state=state,
        path=key if held else None,
        local_size=size if held else None,
    )


def put(ledger: Ledger, *rows: ObjectRow) -> None:
    ledger.settle(Settlement(rows=rows))


def clear(ledger: Ledger) -> None:
    """Forget every row and every mark."""
    while rows := ledger.rows():
        ledger.settle(Settlement(removed=tuple(row.key for row in rows)))
    while marks := ledger.due(float("inf"), 1000):
        ledger.settle(Settlement(cleared=tuple(marks)))


class ObjectsContract:
    def test_a_row_comes_back_as_it_went_in(self, ledger: Ledger) -> None:
        full = ObjectRow(
            key="données/a b+%20\n'\".bin",
            etag="0123-7",
            size=2**62,
            last_modified=2**33,
            state=State.STALE,
            path="données/%FF=a",
            local_size=2**61,
            mtime_ns=2**62 + 1,
            version_id="v/1+",
            verdict=Verdict.CRC64NVME,
            reason="it grew",
            seen_etag="4567-8",
            synced_at=1_700_000_000.123456,
        )
        bare = ObjectRow("b/", "", 0, 0, State.SYNCED)
        put(ledger, full, bare)
        assert ledger.get(full.key) == full
        assert ledger.get("b/") == bare
        assert ledger.rows() == [bare, full]

    def test_an_unknown_key_is_none(self, ledger: Ledger) -> None:
        assert ledger.get("nothing") is None
        assert ledger.get_many(["nothing", "here"]) == {}
        assert ledger.get_many([]) == {}

    def test_many_keys_are_read_at_once(self, ledger: Ledger) -> None:
        rows = [row(f"k{number:05d}") for number in range(2_500)]
        put(ledger, *rows)
        wanted = [row.key for row in rows] + ["absent"]
        assert ledger.get_many(wanted) == {row.key: row for row in rows}

    def test_a_row_is_replaced_whole(self, ledger: Ledger) -> None:
        put(ledger, replace(row("a"), reason="old", verdict=Verdict.MD5, seen_etag="x"))
        put(ledger, row("a", State.ARCHIVED, 9))
        assert ledger.get("a") == row("a", State.ARCHIVED, 9)

    def test_characters_that_sql_knows_are_only_characters(self, ledger: Ledger) -> None:
        keys = ["%", "_", "'", '"', "\\", "a%b", "a_b", "aXb", "a\x00b", "a", ";--", "\x00"]
        put(ledger, *map(row, keys))
        assert [row.key for row in ledger.rows()] == sorted(keys, key=str.encode)
        assert [row.key for row in ledger.rows(prefix="a%")] == ["a%b"]
        assert [row.key for row in ledger.rows(prefix="a_")] == ["a_b"]
        assert [row.key for row in ledger.rows(prefix="a\x00")] == ["a\x00b"]
        assert [row.key for row in ledger.rows(prefix="\x00")] == ["\x00"]

    def test_the_stored_form_of_a_key_is_its_bytes(self, ledger: Ledger) -> None:
        put(ledger, row("é\x00"), row("b", State.FAILED))
        by_text = select(objects.c.key, objects.c.path).where(objects.c.key == "é\x00")
        with ledger._database.read() as connection:
            assert connection.execute(by_text).all() == [("é\x00", "é\x00")]
            assert fetch(connection, by_text) == [(b"\xc3\xa9\x00", b"\xc3\xa9\x00")]
            assert connection.execute(select(objects.c.path)).scalars().all()[0] is None

    @SHARED
    @given(keys=st.lists(KEYS, max_size=12), data=st.data())
    def test_ranges_are_ranges_of_bytes(
        self, ledger: Ledger, keys: list[str], data: st.DataObject
    ) -> None:
        clear(ledger)
        put(ledger, *map(row, keys))
        some = st.sampled_from([*keys, "", "a", "b/"]) | KEYS
        prefix = data.draw(
            some.flatmap(lambda key: st.integers(0, len(key)).map(lambda n: key[:n]))
        )
        after, through = data.draw(some), data.draw(st.none() | some)
        limit = data.draw(st.integers(1, 14))
        expected = [
            key
            for key in sorted(set(keys), key=str.encode)
            if key.startswith(prefix)
            and key.encode() > after.encode()
            and (through is None or key.encode() <= through.encode())
        ]
        found = ledger.rows(prefix, after, through, limit)
        assert [row.key for row in found] == expected[:limit]
        assert ledger.stretch(prefix, after, through, limit).keys() == expected[:limit]
        assert ledger.count(prefix) == sum(key.startswith(prefix) for key in set(keys))

    def test_the_last_character_there_is_can_end_a_prefix(self, ledger: Ledger) -> None:
        put(ledger, row("\U0010ffff"), row("\U0010ffff\U0010ffff"), row("z"))
        assert len(ledger.rows(prefix="\U0010ffff")) == 2

    def test_pages_cover_everything_once(self, ledger: Ledger) -> None:
        keys = [f"p/{number:04d}" for number in range(2_345)]
        put(ledger, *map(row, [*keys, "o", "q"]))
        seen: list[str] = []
        while page := ledger.rows("p/", seen[-1] if seen else "", limit=500):
            seen += [row.key for row in page]
        assert seen == keys

    def test_rows_are_filtered_by_state(self, ledger: Ledger) -> None:
        put(ledger, *(row(state.value, state) for state in State))
        found = ledger.rows(states=[State.FAILED, State.ARCHIVED])
        assert [row.key for row in found] == ["archived", "failed"]
        assert ledger.rows(states=[]) == []

    def test_a_stretch_tells_of_the_files_of_the_versions_that_are_listed(
        self, ledger: Ledger
    ) -> None:
        held = replace(row("a"), mtime_ns=2**62 + 1)
        version = (held.etag, held.size, held.last_modified)
        odd = {
            "another version": replace(held, etag="e2"),
            "another size": replace(held, size=4, local_size=4),
            "another date": replace(held, last_modified=1),
            "no file": replace(held, path=None, local_size=None, mtime_ns=None),
            "no time": replace(held, mtime_ns=None),
            "no size": replace(held, local_size=None),
            "a part of it": replace(held, local_size=2),
            **{state.value: replace(held, state=state) for state in State},
        }
        whole = {
            "a": held,
            "\u00e9/b": replace(held, path="\u00e9/%FF=b"),
            State.SYNCED.value: held,
        }
        rows = {
            key: replace(found, key=key, path=found.path and found.path.replace("a", key))
            for key, found in {**odd, **whole}.items()
        }
        put(ledger, *rows.values())

        stretch = ledger.stretch("", "", None, 100)

        versions = {(key.encode(), *version) for key in [*rows, "of no row"]}
        assert stretch.files(versions) == {
            key.encode(): (str(rows[key].path).encode(), held.size, held.mtime_ns) for key in whole
        }
        assert stretch.files({(b"of no row", *version)}) == {}
        keys = sorted(rows, key=str.encode)
        assert (stretch.keys(), len(stretch), stretch.last_key) == (keys, len(keys), keys[-1])
        assert stretch.keys(without={b"a", b"no time"}) == [
            key for key in keys if key not in ("a", "no time")
        ]
        assert stretch.first(2).keys() == keys[:2]

    def test_files_on_disk_are_counted(self, ledger: Ledger) -> None:
        put(ledger, *(row(f"s/{state.value}", state) for state in State), row("t"))
        assert ledger.count() == 3
        assert ledger.count("s/") == 2
        assert ledger.count("none") == 0

    @pytest.mark.parametrize("key", ["\ud800", "a\udcffb"])
    def test_a_key_that_is_not_utf8_is_rejected(self, ledger: Ledger, key: str) -> None:
        with pytest.raises(KeyRejected):
            ledger.get(key)
        with pytest.raises(KeyRejected):
            put(ledger, row("good"), row(key))
        assert ledger.rows() == []
