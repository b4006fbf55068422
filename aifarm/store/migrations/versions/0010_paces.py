"""How fast gangs exchange gradients, and what a step of a package costs."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "paces",
        sa.Column("package", sa.String, primary_key=True),
        sa.Column("gang", sa.String, primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("world_size", sa.Integer, nullable=False),
        sa.Column("compute", sa.Double, nullable=False),
        sa.Column("gradients", sa.Double, nullable=False),
        sa.Column("bandwidth", sa.Double, nullable=False),
        sa.Column("latency", sa.Double, nullable=False),
    )
    op.create_index("ix_paces_gang", "paces", ["gang"])
