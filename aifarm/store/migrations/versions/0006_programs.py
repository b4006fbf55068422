"""A task may name a Python environment, its script's arguments and files, and data."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    with op.batch_alter_table("tasks") as tasks:
        tasks.add_column(sa.Column("environment", sa.Text))
        tasks.add_column(sa.Column("program", sa.Text, nullable=False, server_default="{}"))
        tasks.add_column(sa.Column("data", sa.Text, nullable=False, server_default="{}"))
    with op.batch_alter_table("tasks") as tasks:
        tasks.alter_column("program", server_default=None)
        tasks.alter_column("data", server_default=None)
