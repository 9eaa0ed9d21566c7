"""What is known and not mirrored is found without a look at every key."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_CONDITION = sa.text("state <> 'synced'")


def upgrade() -> None:
    op.create_index(
        "objects_unsynced",
        "objects",
        ["key"],
        sqlite_where=_CONDITION,
        postgresql_where=_CONDITION,
    )


def downgrade() -> None:
    op.drop_index("objects_unsynced", "objects")
