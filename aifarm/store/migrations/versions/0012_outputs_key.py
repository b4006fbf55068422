"""Tasks that go on from another begin with its files: whose bytes lie where is asked by key."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_index("ix_outputs_key", "outputs", ["key"])
