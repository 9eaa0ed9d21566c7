"""What was done in each minute is remembered for some days."""

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


def downgrade() -> None:
    op.drop_table("activity")
