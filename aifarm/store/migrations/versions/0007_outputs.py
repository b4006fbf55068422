"""Tasks keep files; an upload says whether it is one of them."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    with op.batch_alter_table("uploads") as uploads:
        uploads.add_column(
            sa.Column("purpose", sa.String, nullable=False, server_default="checkpoint")
        )
    with op.batch_alter_table("uploads") as uploads:
        uploads.alter_column("purpose", server_default=None)
    op.create_table(
        "outputs",
        sa.Column("task_id", sa.String, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("parts", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("task_id", "path", name="pk_outputs"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_outputs_task_id"),
    )
