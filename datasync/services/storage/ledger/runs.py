"""The runs table: reconciliations from request to end, and the deletes that a run has planned.

Every change of a run's status happens under one lock, so that two processes agree on it.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, literal, or_, select

from datasync.errors import LedgerError, RunMissing, RunNotHeld
from datasync.models.sync_models import Run, RunCounts, RunKind, RunStatus
from datasync.services.storage.ledger.database import Database, Prepared, Values, fetch
from datasync.services.storage.ledger.plans import add_to_plan, drop_in_pieces, forget_plans
from datasync.services.storage.ledger.tables import RUN_COUNTS, ByteText, encode, plain, runs

_TURN = "runs"
_UNFINISHED = (RunStatus.QUEUED.value, RunStatus.RUNNING.value)
_SELECT = select(*runs.columns)
_PUT_COUNTS = (
    runs.update()
    .where(runs.c.id == bindparam("run"))
    .values({name: bindparam(name) for name in RUN_COUNTS})
)
_APPLIES = and_(runs.c.status == RunStatus.HELD.value, runs.c.approved)


def run_of(values: Values) -> Run:
    """A run as the driver gives it, in the table's column order."""
    return Run(
        id=values[0],
        kind=RunKind(values[1]),
        prefix=values[2].decode(),
        status=RunStatus(values[3]),
        requested=values[4],
        started=values[5],
        finished=values[6],
        error=values[7],
        hint=values[8],
        deletes_planned=values[9],
        cancel_requested=bool(values[10]),
        approved=bool(values[11]),
        counts=RunCounts(**dict(zip(RUN_COUNTS, values[12:], strict=True))),
    )


def put_counts(connection: Connection, run_id: int, counts: RunCounts) -> None:
    """Replace a run's tallies. Raises: RunMissing."""
    if connection.execute(_PUT_COUNTS, {"run": run_id, **asdict(counts)}).rowcount == 0:
        raise RunMissing(f"there is no run {run_id}")


def covers(prefix: str) -> ColumnElement[bool]:
    """Condition: the run's prefix is the given one, or begins it."""
    stored = runs.c.prefix
    if not prefix:
        return func.length(stored) == 0  # SQLite's substr of an empty BLOB is NULL
    return (
        func.substr(literal(encode(prefix), ByteText), 1, func.length(stored), type_=ByteText)
        == stored
    )


def _next(_: Database) -> Prepared:
    due = or_(runs.c.status == RunStatus.QUEUED.value, _APPLIES)
    return Prepared(_SELECT.where(due).order_by(runs.c.id).limit(1))


class Runs:
    """Requests, progress and ends of runs."""

    _database: Database

    def request_run(
        self, kind: RunKind, prefix: str, now: float, *, join: bool = True
    ) -> tuple[Run, bool]:
        """A run of this kind over `prefix`, and whether it is new.

        With `join`, the oldest queued or running one that covers the prefix and that nobody
        asked to cancel is given instead of a new one. Durable when it returns.

        Raises: LedgerError, LedgerBusy, DiskFull, KeyRejected when the prefix is not UTF-8.
        """
        with self._database.write(durable=True, turn=_TURN) as connection:
            if join:
                found = _one(connection, *_joinable(kind, prefix))
                if found is not None:
                    return found, False
            values = {"kind": kind.value, "prefix": encode(prefix), "requested": now}
            flags = {"status": RunStatus.QUEUED.value, "cancel_requested": False, "approved": False}
            added = connection.execute(runs.insert().values(**values, **flags))
            primary_key = added.inserted_primary_key
            assert primary_key is not None
            return _get(connection, int(primary_key[0])), True

    def next_run(self) -> Run | None:
        """The oldest run to do: a queued one, or a held one that was approved.

        Raises: LedgerError, LedgerBusy.
        """
        with self._database.read() as connection:
            found = self._database.prepared(_next).fetch(connection)
        return run_of(found[0]) if found else None

    def start_run(self, run_id: int, now: float) -> Run:
        """Set a queued run, or an approved held one, running.

        Raises: RunMissing; RunNotHeld when it is neither (cancelled meanwhile, say).
        """
        with self._database.write(turn=_TURN) as connection:
            run = _get(connection, run_id)
            if run.status != RunStatus.QUEUED and not (
                run.status == RunStatus.HELD and run.approved
            ):
                raise RunNotHeld(f"run {run_id} is {run.status} and cannot start")
            running = {"status": RunStatus.RUNNING.value, "started": now, "finished": None}
            return _change(connection, run_id, running)

    def finish_run(
        self,
        run_id: int,
        status: RunStatus,
        now: float,
        *,
        counts: RunCounts | None = None,
        error: str | None = None,
        hint: str | None = None,
    ) -> Run:
        """Record how a run ended, and forget its plan, unless it is held: then it waits for a new
        approval. One that was asked to stop just before it is held ends cancelled.

        Raises: RunMissing, LedgerError, LedgerBusy.
        """
        why = {"error": plain(error), "hint": plain(hint)}
        tallies = {} if counts is None else asdict(counts)
        with self._database.write(durable=True, turn=_TURN) as connection:
            if status is RunStatus.HELD and _get(connection, run_id).cancel_requested:
                status, why = RunStatus.CANCELLED, {}
            held = {"approved": False} if status is RunStatus.HELD else {}
            end = {**_ended(status, now), **why, **held, **tallies}
            run = _change(connection, run_id, end)
        if status is not RunStatus.HELD:
            self._drop_plan_of(run)
        return run

    def _drop_plan_of(self, run: Run) -> None:
        if run.deletes_planned:
            with suppress(LedgerError):  # what stays goes with the run itself
                drop_in_pieces(self._database, run.id)

    def save_counts(self, run_id: int, counts: RunCounts) -> None:
        """Replace a run's tallies. Raises: RunMissing, LedgerError, LedgerBusy."""
        with self._database.write() as connection:
            put_counts(connection, run_id, counts)

    def run(self, run_id: int) -> Run:
        """The run with this id. Raises: RunMissing, LedgerError, LedgerBusy."""
        with self._database.read() as connection:
            return _get(connection, run_id)

    def runs(self, limit: int = 50, before: int | None = None) -> list[Run]:
        """At most `limit` runs, newest first, with ids below `before`.

        Raises: LedgerError, LedgerBusy.
        """
        statement = _SELECT.order_by(runs.c.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(runs.c.id < before)
        with self._database.read() as connection:
            return [run_of(values) for values in fetch(connection, statement)]

    def held_run(self) -> Run | None:
        """The newest run that is held. Raises: LedgerError, LedgerBusy."""
        with self._database.read() as connection:
            return _one(connection, runs.c.status == RunStatus.HELD.value, newest=True)

    def held_runs(self) -> list[Run]:
        """Every run that is held, newest first. Raises: LedgerError, LedgerBusy."""
        held = _SELECT.where(runs.c.status == RunStatus.HELD.value).order_by(runs.c.id.desc())
        with self._database.read() as connection:
            return [run_of(values) for values in fetch(connection, held)]

    def last_run(
        self,
        *,
        finished: bool = True,
        prefix: str | None = None,
        kinds: Collection[RunKind] | None = None,
        statuses: Collection[RunStatus] | None = None,
    ) -> Run | None:
        """The newest run; only one that has ended (held included) unless `finished` is False.

        `prefix`: only runs that cover it. `kinds`, `statuses`: only such runs.

        Raises: LedgerError, LedgerBusy.
        """
        conditions: list[ColumnElement[bool]] = []
        if finished:
            conditions.append(runs.c.status.not_in(_UNFINISHED))
        if prefix is not None:
            conditions.append(covers(prefix))
        if kinds is not None:
            conditions.append(runs.c.kind.in_([kind.value for kind in kinds]))
        if statuses is not None:
            conditions.append(runs.c.status.in_([status.value for status in statuses]))
        with self._database.read() as connection:
            return _one(connection, *conditions, newest=True)

    def approve(self, run_id: int) -> Run:
        """Let a held run's plan be applied. Durable when it returns.

        Raises: RunMissing, RunNotHeld, LedgerError, LedgerBusy.
        """
        with self._database.write(durable=True, turn=_TURN) as connection:
            run = _get(connection, run_id)
            if run.status != RunStatus.HELD:
                raise RunNotHeld(f"run {run_id} is {run.status}, not held")
            return _change(connection, run_id, {"approved": True})

    def cancel(self, run_id: int, now: float) -> Run:
        """Cancel a queued or held run at once; ask a running one to stop.

        Raises: RunMissing, RunNotHeld when it is over, LedgerError, LedgerBusy.
        """
        with self._database.write(durable=True, turn=_TURN) as connection:
            run = _get(connection, run_id)
            if run.status == RunStatus.RUNNING:
                return _change(connection, run_id, {"cancel_requested": True})
            if run.status not in (RunStatus.QUEUED, RunStatus.HELD):
                raise RunNotHeld(f"run {run_id} is over: {run.status}")
            run = _change(connection, run_id, _ended(RunStatus.CANCELLED, now))
        self._drop_plan_of(run)
        return run

    def interrupt_runs(self, now: float) -> int:
        """End what a dead leader left running; how many runs that were.

        A plan that was being applied is held and approved again, so that the next leader goes
        on with it. A run that was asked to stop is cancelled, any other one interrupted.

        Raises: LedgerError, LedgerBusy.
        """
        with self._database.write(durable=True, turn=_TURN) as connection:
            found = fetch(connection, _SELECT.where(runs.c.status == RunStatus.RUNNING.value))
            for run in map(run_of, found):
                _interrupt(connection, run, now)
        return len(found)

    def plan_deletes(self, run_id: int, rows: Sequence[tuple[str, str]]) -> None:
        """Add keys (with the ETag held) to a run's plan; a key planned twice counts once.

        Raises: RunMissing, LedgerError, LedgerBusy, DiskFull.
        """
        with self._database.write(turn=_TURN) as connection:
            planned = _get(connection, run_id).deletes_planned
            planned += add_to_plan(connection, self._database, run_id, rows)
            _change(connection, run_id, {"deletes_planned": planned})

    def plan_anew(self, run_id: int) -> None:
        """Forget what a run has planned so far. Raises: RunMissing, LedgerError, LedgerBusy."""
        drop_in_pieces(self._database, run_id)
        with self._database.write(turn=_TURN) as connection:
            _change(connection, run_id, {"deletes_planned": 0})


def _joinable(kind: RunKind, prefix: str) -> list[ColumnElement[bool]]:
    return [
        runs.c.kind == kind.value,
        runs.c.status.in_(_UNFINISHED),
        runs.c.cancel_requested.is_(False),
        covers(prefix),
    ]


def _interrupt(connection: Connection, run: Run, now: float) -> None:
    if run.cancel_requested:
        change = _ended(RunStatus.CANCELLED, now)
    elif run.approved:
        change = _ended(RunStatus.HELD, now)
    else:
        change = _ended(RunStatus.INTERRUPTED, now)
    if change["status"] != RunStatus.HELD.value:
        forget_plans(connection, [run.id])
    _change(connection, run.id, change)


def _ended(status: RunStatus, now: float) -> dict[str, Any]:
    return {"status": status.value, "finished": now}


def _get(connection: Connection, run_id: int) -> Run:
    run = _one(connection, runs.c.id == run_id)
    if run is None:
        raise RunMissing(f"there is no run {run_id}")
    return run


def _one(
    connection: Connection, *conditions: ColumnElement[bool], newest: bool = False
) -> Run | None:
    order = runs.c.id.desc() if newest else runs.c.id
    found = fetch(connection, _SELECT.where(*conditions).order_by(order).limit(1))
    return run_of(found[0]) if found else None


def _change(connection: Connection, run_id: int, values: dict[str, Any]) -> Run:
    connection.execute(runs.update().where(runs.c.id == run_id).values(**values))
    return _get(connection, run_id)
