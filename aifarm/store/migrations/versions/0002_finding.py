"""What tasks are found by, the trash, and pins."""

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _add(
        "tasks",
        sa.Column("deleted_at", sa.Double),
        sa.Column("project", sa.Text),
        sa.Column("title", sa.Text),
        sa.Column("tags", sa.Text, nullable=False, server_default="[]"),
        sa.Column("notes", sa.Text),
        sa.Column("parent", sa.String),
        sa.Column("from_checkpoint", sa.String),
        sa.Column("best", sa.Text, nullable=False, server_default="{}"),
        sa.Column("env", sa.Text, nullable=False, server_default="{}"),
    )
    _add(
        "checkpoints",
        sa.Column("pinned", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_index("ix_tasks_project", "tasks", ["project", "deleted", "created_at", "id"])
    op.create_index("ix_tasks_parent", "tasks", ["parent", "deleted", "created_at", "id"])
    op.create_index("ix_tasks_from_checkpoint", "tasks", ["from_checkpoint"])
    facts = op.create_table(
        "facts",
        sa.Column("task_id", sa.String, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("number", sa.Double),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_facts_task_id"),
        sa.PrimaryKeyConstraint("task_id", "key", "text", name="pk_facts"),
    )
    op.create_index("ix_facts_number", "facts", ["key", "number"])
    op.create_index("ix_facts_text", "facts", ["key", "text", "task_id"])

    connection = op.get_bind()
    tasks = sa.table(
        "tasks", *map(sa.column, ("id", "config", "deleted", "deleted_at", "updated_at"))
    )
    connection.execute(
        sa.update(tasks).where(tasks.c.deleted.is_(sa.true())).values(deleted_at=tasks.c.updated_at)
    )
    for task_id, config in connection.execute(sa.select(tasks.c.id, tasks.c.config)).all():
        rows = {key: value for key, value in _values("config.", json.loads(config))}
        found = [
            {"task_id": task_id, "key": key, "text": text, "number": number}
            for key, (text, number) in rows.items()
            if max(len(key), len(text)) <= 256
        ]
        if found:
            connection.execute(sa.insert(facts), found[:256])


def _add(table: str, *columns: sa.Column[Any]) -> None:
    """The defaults are for the rows that are there; the program always says what it writes."""
    with op.batch_alter_table(table) as batch:
        for column in columns:
            batch.add_column(column)
    with op.batch_alter_table(table) as batch:
        for column in columns:
            if column.server_default is not None:
                batch.alter_column(column.name, server_default=None)


def _values(path: str, config: dict[str, Any]) -> Iterator[tuple[str, tuple[str, float | None]]]:
    """As `store.facts` writes them for a new task."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _values(f"{path}{name}.", value)
        elif isinstance(value, str):
            yield path + name, (value.replace("\0", "\N{REPLACEMENT CHARACTER}"), None)
        elif value is None or isinstance(value, bool):
            yield path + name, (json.dumps(value), None)
        elif isinstance(value, int | float):
            yield path + name, ("", float(value))
