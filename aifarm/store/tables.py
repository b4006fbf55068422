"""The tables, once. Every statement of the store is derived from here.

Times are seconds since the epoch, sizes bytes, memory MiB. What is sorted, filtered or guarded on
is a column; nested values are JSON text. A change here needs a migration beside it.
"""

import json
from math import isnan
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)


class PlainText(TypeDecorator[str]):
    """Text as every database can keep it: no NUL, no lone surrogate, no subclass of str."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else plain(value)


class Number(TypeDecorator[float]):
    """A number, or NULL where it is none: SQLite keeps NaN so by itself, and NULL sorts alike
    everywhere."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        return None if value is None or isnan(value) else value


class Json(TypeDecorator[Any]):
    """A nested value as JSON text; None is NULL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else dump(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else msgspec.json.decode(value)


def plain(text: str) -> str:
    """`text` without what PostgreSQL (NUL) or UTF-8 (lone surrogates) cannot hold."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def dump(value: Any) -> str:
    """JSON text of `value`; lone surrogates become question marks."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False)
        return text.encode("utf-8", "replace").decode()


# SQLite makes only an INTEGER primary key the row's own address.
RowId = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", String, primary_key=True),
    Column("submitter", PlainText, nullable=False),
    Column("type", PlainText, nullable=False),
    Column("name", PlainText, nullable=False),
    Column("version", PlainText),
    Column("url", PlainText),
    Column("distributed", Boolean, nullable=False),
    Column("package", Json),
    Column("config", Json, nullable=False),
    Column("needs", Json, nullable=False),
    Column("n_clients", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("share_gpu", Boolean, nullable=False),
    Column("retries", Integer, nullable=False),
    Column("packaged", Boolean, nullable=False),
    Column("state", PlainText, nullable=False),
    Column("desired", PlainText, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("ranks", Json, nullable=False),
    Column("endpoint", Json),
    Column("revocable", Boolean, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("losses", Integer, nullable=False),
    Column("cause", PlainText),
    Column("message", PlainText),
    Column("progress", Double, nullable=False),
    Column("metrics", Json, nullable=False),
    Column("checkpoint", Json),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("updated_at", Double, nullable=False),
    Column("deleted", Boolean, nullable=False),
    Column("deleted_at", Double),
    Column("project", PlainText),
    Column("title", PlainText),
    Column("tags", Json, nullable=False),
    Column("notes", PlainText),
    Column("parent", String),
    Column("from_checkpoint", String),
    Column("best", Json, nullable=False),
    Column("env", Json, nullable=False),
    Column("environment", PlainText),
    Column("program", Json, nullable=False),
    Column("data", Json, nullable=False),
    Column("processes", Integer, nullable=False),
)
# Lists are newest first and count what they list: these indexes answer both alone.
Index("ix_tasks_created_at", tasks.c.deleted, tasks.c.created_at, tasks.c.id)
Index("ix_tasks_submitter", tasks.c.submitter, tasks.c.deleted, tasks.c.created_at, tasks.c.id)
Index("ix_tasks_state", tasks.c.state, tasks.c.deleted, tasks.c.created_at, tasks.c.id)
Index("ix_tasks_project", tasks.c.project, tasks.c.deleted, tasks.c.created_at, tasks.c.id)
Index("ix_tasks_parent", tasks.c.parent, tasks.c.deleted, tasks.c.created_at, tasks.c.id)
Index("ix_tasks_from_checkpoint", tasks.c.from_checkpoint)

# What else tasks are found by: see `facts`.
facts = Table(
    "facts",
    metadata,
    Column("task_id", String, ForeignKey("tasks.id"), primary_key=True),
    Column("key", PlainText, primary_key=True),
    Column("text", PlainText, primary_key=True),
    Column("number", Double),
)
# Without the task's id, so that SQLite does not prefer it where task and key are known.
Index("ix_facts_number", facts.c.key, facts.c.number)
Index("ix_facts_text", facts.c.key, facts.c.text, facts.c.task_id)

ranks = Table(
    "ranks",
    metadata,
    Column("task_id", String, ForeignKey("tasks.id"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("rank", Integer, primary_key=True),
    Column("client_id", String, nullable=False),
    Column("submitter", PlainText, nullable=False),
    Column("cpu_cores", Integer, nullable=False),
    Column("ram", BigInteger, nullable=False),
    Column("gpus", Json, nullable=False),
    Column("gpu_memory", BigInteger, nullable=False),
    Column("shared", Boolean, nullable=False),
    Column("seq", BigInteger, nullable=False),
)

attempts = Table(
    "attempts",
    metadata,
    Column("task_id", String, ForeignKey("tasks.id"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("assigned_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("outcome", PlainText),
    Column("message", PlainText),
    Column("provenance", Json, nullable=False),
)

# Where each rank of an attempt ran.
placements = Table(
    "placements",
    metadata,
    Column("task_id", String, ForeignKey("tasks.id"), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("rank", Integer, primary_key=True),
    Column("client_id", String, nullable=False),
)
Index(
    "ix_placements_client_id",
    placements.c.client_id,
    placements.c.task_id,
    placements.c.attempt,
)

clients = Table(
    "clients",
    metadata,
    Column("id", String, primary_key=True),
    Column("token_id", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("last_seen", Double, nullable=False),
    Column("speaks", PlainText, nullable=False),
    Column("machine_id", PlainText),
    Column("boot_id", PlainText),
    Column("hostname", PlainText, nullable=False),
    Column("agent_version", PlainText, nullable=False),
    Column("labels", Json, nullable=False),
    Column("resources", Json),
    Column("drained", PlainText),
    Column("environments", Json, nullable=False),
)

# `data`: what a client used, from `start` on, many samples in one; `coarse`: means of those.
samples = Table(
    "samples",
    metadata,
    Column("client_id", String, primary_key=True),
    Column("start", Double, primary_key=True),
    Column("coarse", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", PlainText, nullable=False),
    Column("role", PlainText, nullable=False),
    Column("digest", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("client_id", String),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("label", PlainText),
)

logins = Table(
    "logins",
    metadata,
    Column("digest", String, primary_key=True),
    Column("token_id", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("kind", PlainText, nullable=False),
    Column("message", PlainText, nullable=False),
    Column("task_id", String),
    Column("client_id", String),
    Column("attempt", Integer),
)
Index("ix_events_task_id", events.c.task_id, events.c.id)
Index("ix_events_client_id", events.c.client_id, events.c.id)

logs = Table(
    "logs",
    metadata,
    Column("task_id", String, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("rank", Integer, primary_key=True),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("length", Integer, nullable=False),
    Column("lines", Json, nullable=False),
)

# One metric of one rank of one attempt: its points lie in `blocks`, its summary here.
series = Table(
    "series",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=False),
    Column("task_id", String, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("name", PlainText, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("sealed", BigInteger, nullable=False),
    Column("first_step", BigInteger, nullable=False),
    Column("last_step", BigInteger, nullable=False),
    Column("last", Number),
    Column("min", Number),
    Column("max", Number),
)
Index(
    "ix_series_task_id",
    series.c.task_id,
    series.c.rank,
    series.c.name,
    series.c.attempt,
    unique=True,
)

# `length` points from the `start`-th on; `level` 0 holds the points, higher ones their roll-ups.
blocks = Table(
    "blocks",
    metadata,
    Column("series_id", BigInteger, primary_key=True, autoincrement=False),
    Column("level", Integer, primary_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("length", Integer, nullable=False),
    Column("low_step", BigInteger, nullable=False),
    Column("high_step", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("id", String, primary_key=True),
    Column("task_id", String, ForeignKey("tasks.id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String, nullable=False),
    Column("key", String, nullable=False),
    Column("parts", Json, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("epoch", BigInteger),
    Column("progress", Double, nullable=False),
    Column("metrics", Json, nullable=False),
    Column("final", Boolean, nullable=False),
    Column("pinned", Boolean, nullable=False),
    Column("best", Boolean, nullable=False),
)
Index("ix_checkpoints_task_id", checkpoints.c.task_id, checkpoints.c.created_at)

uploads = Table(
    "uploads",
    metadata,
    Column("id", String, primary_key=True),
    Column("task_id", String, ForeignKey("tasks.id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("key", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String, nullable=False),
    Column("part_size", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("parts", Json, nullable=False),
    Column("purpose", String, nullable=False),
)
Index("ix_uploads_task_id", uploads.c.task_id, uploads.c.attempt, uploads.c.sha256)

# The files that a task keeps, as they are now; the bytes are shared by equal files of the task, and
# with the tasks that go on from it. `attempt` 0: they are from there.
outputs = Table(
    "outputs",
    metadata,
    Column("task_id", String, ForeignKey("tasks.id"), primary_key=True),
    Column("path", PlainText, primary_key=True),
    Column("attempt", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String, nullable=False),
    Column("key", String, nullable=False),
    Column("parts", Json, nullable=False),
    Column("created_at", Double, nullable=False),
)

Index("ix_outputs_key", outputs.c.key)

packages = Table(
    "packages",
    metadata,
    Column("name", String, primary_key=True),
    Column("version", String, primary_key=True),
    Column("sha256", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("kind", PlainText, nullable=False),
    Column("manifest", PlainText, nullable=False),
    Column("key", String, nullable=False),
    Column("parts", Json, nullable=False),
    Column("publisher", PlainText, nullable=False),
    Column("created_at", Double, nullable=False),
)

# Complete, or on its way from one putter.
data = Table(
    "data",
    metadata,
    Column("sha256", String, primary_key=True),
    Column("putter", PlainText, primary_key=True),
    Column("name", PlainText, nullable=False),
    Column("kind", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("key", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("parts", Json, nullable=False),
    Column("complete", Boolean, nullable=False),
)
Index("ix_data_created_at", data.c.created_at)

# What a step of a package cost a gang of clients, the latest time that it was measured.
paces = Table(
    "paces",
    metadata,
    Column("package", String, primary_key=True),
    Column("gang", String, primary_key=True),
    Column("at", Double, nullable=False),
    Column("world_size", Integer, nullable=False),
    Column("compute", Double, nullable=False),
    Column("gradients", Double, nullable=False),
    Column("bandwidth", Double, nullable=False),
    Column("latency", Double, nullable=False),
)
Index("ix_paces_gang", paces.c.gang)

idempotency = Table(
    "idempotency",
    metadata,
    Column("key", String, primary_key=True),
    Column("body", String, nullable=False),
    Column("task_id", String, nullable=False),
    Column("at", Double, nullable=False),
)

# Who writes a database that several servers know: `epoch` grows by one when another begins to.
leader = Table(
    "leader",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("epoch", BigInteger, nullable=False),
)
