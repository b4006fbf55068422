"""The best checkpoint of a task is known as such."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    with op.batch_alter_table("checkpoints") as checkpoints:
        checkpoints.add_column(
            sa.Column("best", sa.Boolean, nullable=False, server_default=sa.false())
        )
    with op.batch_alter_table("checkpoints") as checkpoints:
        checkpoints.alter_column("best", server_default=None)
