"""When events happened, how many told of a key, and how long the change itself took."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("dirty", sa.Column("happened", sa.Double()))
    op.add_column("dirty", sa.Column("last_happened", sa.Double()))
    op.add_column(
        "dirty", sa.Column("events", sa.Integer(), nullable=False, server_default=sa.text("1"))
    )
    op.add_column("outcomes", sa.Column("event_lag_seconds", sa.Double()))


def downgrade() -> None:
    op.drop_column("outcomes", "event_lag_seconds")
    for name in ("events", "last_happened", "happened"):
        op.drop_column("dirty", name)
