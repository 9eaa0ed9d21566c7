"""The first ledger: objects, dirty keys, runs with their planned deletes, outcomes, figures."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_IDENTITY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TALLIES = (
    "listed planned downloaded deleted adopted unchanged skipped failed bytes bytes_planned drift"
)


def upgrade() -> None:
    _create_objects()
    _create_dirty()
    _create_runs()
    _create_outcomes()
    op.create_table(
        "figures",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    for name in ("figures", "outcomes", "planned_deletes", "runs", "dirty", "objects"):
        op.drop_table(name)


def _partial_index(name: str, table: str, column: str, where: str) -> None:
    condition = sa.text(where)
    op.create_index(
        name, table, [column], sqlite_where=condition, postgresql_where=condition, unique=False
    )


def _create_objects() -> None:
    op.create_table(
        "objects",
        sa.Column("key", sa.LargeBinary(), primary_key=True),
        sa.Column("etag", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("last_modified", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("path", sa.LargeBinary()),
        sa.Column("local_size", sa.BigInteger()),
        sa.Column("mtime_ns", sa.BigInteger()),
        sa.Column("version_id", sa.Text()),
        sa.Column("verdict", sa.String(16)),
        sa.Column("reason", sa.Text()),
        sa.Column("seen_etag", sa.Text()),
        sa.Column("synced_at", sa.Double()),
        sqlite_with_rowid=False,
    )
    _partial_index("objects_failing", "objects", "key", "state IN ('failed', 'rejected', 'stale')")


def _create_dirty() -> None:
    op.create_table(
        "dirty",
        sa.Column("key", sa.LargeBinary(), primary_key=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("marks", sa.BigInteger(), nullable=False),
        sa.Column("first_seen", sa.Double(), nullable=False),
        sa.Column("last_seen", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("last_error", sa.Text()),
        sqlite_with_rowid=False,
    )
    op.create_index("dirty_due", "dirty", ["not_before", "last_seen"])
    op.create_index("dirty_oldest", "dirty", ["first_seen"])
    _partial_index("dirty_failing", "dirty", "key", "last_error IS NOT NULL")


def _create_runs() -> None:
    zero = sa.text("0")
    op.create_table(
        "runs",
        sa.Column("id", _IDENTITY, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("prefix", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("requested", sa.Double(), nullable=False),
        sa.Column("started", sa.Double()),
        sa.Column("finished", sa.Double()),
        sa.Column("error", sa.Text()),
        sa.Column("hint", sa.Text()),
        sa.Column("deletes_planned", sa.BigInteger(), nullable=False, server_default=zero),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False, server_default=zero)
            for name in _TALLIES.split()
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("runs_status", "runs", ["status"])
    op.create_table(
        "planned_deletes",
        sa.Column("run_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("key", sa.LargeBinary(), primary_key=True),
        sa.Column("etag", sa.Text(), nullable=False),
        sqlite_with_rowid=False,
    )


def _create_outcomes() -> None:
    op.create_table(
        "outcomes",
        sa.Column("id", _IDENTITY, primary_key=True, autoincrement=True),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("operation", sa.String(16), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("run_id", sa.BigInteger()),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("verdict", sa.String(16)),
        sa.Column("error", sa.Text()),
        sa.Column("hint", sa.Text()),
        sa.Column("lag_seconds", sa.Double()),
        sqlite_autoincrement=True,
    )
    op.create_index("outcomes_key", "outcomes", ["key"])
    op.create_index("outcomes_run", "outcomes", ["run_id"])
    _partial_index("outcomes_failed", "outcomes", "run_id", "status = 'failed'")
    _partial_index("outcomes_lag", "outcomes", "id", "lag_seconds IS NOT NULL")
