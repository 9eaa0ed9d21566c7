"""A ledger that lies elsewhere remembers of which directory it is."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mirror",
        sa.Column("only", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("mirror_id", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("mirror")
