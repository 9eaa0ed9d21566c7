"""Marks are worked off in the order in which they began to wait, not in that of their renewal."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("dirty_due", "dirty")
    op.create_index("dirty_due", "dirty", ["not_before", "first_seen"])


def downgrade() -> None:
    op.drop_index("dirty_due", "dirty")
    op.create_index("dirty_due", "dirty", ["not_before", "last_seen"])
