"""Tasks may run several processes on each client; clients advertise environments."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    with op.batch_alter_table("tasks") as tasks:
        tasks.alter_column("world_size", new_column_name="n_clients")
        tasks.add_column(sa.Column("processes", sa.Integer, nullable=False, server_default="1"))
    with op.batch_alter_table("tasks") as tasks:
        tasks.alter_column("processes", server_default=None)
    with op.batch_alter_table("clients") as clients:
        clients.add_column(sa.Column("environments", sa.Text, nullable=False, server_default="[]"))
    with op.batch_alter_table("clients") as clients:
        clients.alter_column("environments", server_default=None)
