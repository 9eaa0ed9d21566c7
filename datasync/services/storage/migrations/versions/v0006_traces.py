"""A mark remembers the trace of the request or the message that told of it, if that is traced."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("dirty", sa.Column("traceparent", sa.Text()))


def downgrade() -> None:
    op.drop_column("dirty", "traceparent")
