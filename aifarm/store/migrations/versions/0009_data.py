"""Data that tasks name, by the sha256 of its bytes."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "data",
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("putter", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("parts", sa.Text, nullable=False),
        sa.Column("complete", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("sha256", "putter", name="pk_data"),
    )
    op.create_index("ix_data_created_at", "data", ["created_at"])
