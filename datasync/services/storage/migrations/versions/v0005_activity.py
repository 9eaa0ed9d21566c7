"""What was done in each minute is remembered for some days, and what is on its way is shown."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_SUMS = ("downloaded", "bytes", "deleted", "failed", "events", "lag_ms", "most_lag_ms")


def upgrade() -> None:
    op.create_table(
        "activity",
        sa.Column("minute", sa.BigInteger(), primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _SUMS),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "transfers",
        sa.Column("key", sa.LargeBinary(), primary_key=True),
        sa.Column("size", sa.BigInteger()),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("started", sa.Double(), nullable=False),
        sa.Column("run_id", sa.BigInteger()),
        sa.Column("noted", sa.Double(), nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("transfers")
    op.drop_table("activity")
