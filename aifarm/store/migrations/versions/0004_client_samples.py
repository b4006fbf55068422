"""What clients used over time."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "samples",
        sa.Column("client_id", sa.String, nullable=False),
        sa.Column("start", sa.Double, nullable=False),
        sa.Column("coarse", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("client_id", "start", name="pk_samples"),
    )
