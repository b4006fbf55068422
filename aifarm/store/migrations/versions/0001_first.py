"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "blocks",
        sa.Column("series_id", sa.BigInteger, nullable=False),
        sa.Column("level", sa.Integer, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("length", sa.Integer, nullable=False),
        sa.Column("low_step", sa.BigInteger, nullable=False),
        sa.Column("high_step", sa.BigInteger, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("series_id", "level", "start", name="pk_blocks"),
    )
    op.create_table(
        "clients",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("token_id", sa.String, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("last_seen", sa.Double, nullable=False),
        sa.Column("speaks", sa.Text, nullable=False),
        sa.Column("machine_id", sa.Text),
        sa.Column("boot_id", sa.Text),
        sa.Column("hostname", sa.Text, nullable=False),
        sa.Column("agent_version", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("resources", sa.Text),
        sa.Column("drained", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_clients"),
    )
    op.create_table(
        "events",
        sa.Column("id", _ROW_ID, autoincrement=False, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("task_id", sa.String),
        sa.Column("client_id", sa.String),
        sa.Column("attempt", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
    )
    op.create_index("ix_events_client_id", "events", ["client_id", "id"])
    op.create_index("ix_events_task_id", "events", ["task_id", "id"])
    op.create_table(
        "idempotency",
        sa.Column("key", sa.String, nullable=False),
        sa.Column("body", sa.String, nullable=False),
        sa.Column("task_id", sa.String, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_idempotency"),
    )
    op.create_table(
        "logs",
        sa.Column("task_id", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("length", sa.Integer, nullable=False),
        sa.Column("lines", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("task_id", "attempt", "rank", "first", name="pk_logs"),
    )
    op.create_table(
        "packages",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("manifest", sa.Text, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("parts", sa.Text, nullable=False),
        sa.Column("publisher", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name="pk_packages"),
    )
    op.create_table(
        "series",
        sa.Column("id", _ROW_ID, autoincrement=False, nullable=False),
        sa.Column("task_id", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("length", sa.BigInteger, nullable=False),
        sa.Column("sealed", sa.BigInteger, nullable=False),
        sa.Column("first_step", sa.BigInteger, nullable=False),
        sa.Column("last_step", sa.BigInteger, nullable=False),
        sa.Column("last", sa.Double),
        sa.Column("min", sa.Double),
        sa.Column("max", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_series"),
    )
    op.create_index(
        "ix_series_task_id", "series", ["task_id", "rank", "name", "attempt"], unique=True
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("submitter", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Text),
        sa.Column("url", sa.Text),
        sa.Column("distributed", sa.Boolean, nullable=False),
        sa.Column("package", sa.Text),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("needs", sa.Text, nullable=False),
        sa.Column("world_size", sa.Integer, nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("share_gpu", sa.Boolean, nullable=False),
        sa.Column("retries", sa.Integer, nullable=False),
        sa.Column("packaged", sa.Boolean, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("desired", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("ranks", sa.Text, nullable=False),
        sa.Column("endpoint", sa.Text),
        sa.Column("revocable", sa.Boolean, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("losses", sa.Integer, nullable=False),
        sa.Column("cause", sa.Text),
        sa.Column("message", sa.Text),
        sa.Column("progress", sa.Double, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.Column("checkpoint", sa.Text),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("ended_at", sa.Double),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
    )
    op.create_index("ix_tasks_created_at", "tasks", ["deleted", "created_at", "id"])
    op.create_index("ix_tasks_state", "tasks", ["state", "deleted", "created_at", "id"])
    op.create_index("ix_tasks_submitter", "tasks", ["submitter", "deleted", "created_at", "id"])
    op.create_table(
        "tokens",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("client_id", sa.String),
        sa.Column("expires_at", sa.Double),
        sa.Column("revoked_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
    )
    op.create_table(
        "attempts",
        sa.Column("task_id", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("assigned_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("ended_at", sa.Double),
        sa.Column("outcome", sa.Text),
        sa.Column("message", sa.Text),
        sa.Column("provenance", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_attempts_task_id"),
        sa.PrimaryKeyConstraint("task_id", "attempt", name="pk_attempts"),
    )
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("task_id", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("parts", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("epoch", sa.BigInteger),
        sa.Column("progress", sa.Double, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.Column("final", sa.Boolean, nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_checkpoints_task_id"),
        sa.PrimaryKeyConstraint("id", name="pk_checkpoints"),
    )
    op.create_index("ix_checkpoints_task_id", "checkpoints", ["task_id", "created_at"])
    op.create_table(
        "placements",
        sa.Column("task_id", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("client_id", sa.String, nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_placements_task_id"),
        sa.PrimaryKeyConstraint("task_id", "attempt", "rank", name="pk_placements"),
    )
    op.create_index("ix_placements_client_id", "placements", ["client_id", "task_id", "attempt"])
    op.create_table(
        "ranks",
        sa.Column("task_id", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("client_id", sa.String, nullable=False),
        sa.Column("submitter", sa.Text, nullable=False),
        sa.Column("cpu_cores", sa.Integer, nullable=False),
        sa.Column("ram", sa.BigInteger, nullable=False),
        sa.Column("gpus", sa.Text, nullable=False),
        sa.Column("gpu_memory", sa.BigInteger, nullable=False),
        sa.Column("shared", sa.Boolean, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_ranks_task_id"),
        sa.PrimaryKeyConstraint("task_id", "attempt", "rank", name="pk_ranks"),
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("task_id", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
        sa.Column("part_size", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("parts", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_uploads_task_id"),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
    )
    op.create_index("ix_uploads_task_id", "uploads", ["task_id", "attempt", "sha256"])
