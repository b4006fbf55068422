"""One transaction: rows are gathered first, and written together when it commits."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace
from sqlalchemy import (
    Connection,
    Dialect,
    Table,
    bindparam,
    delete,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.sql.dml import Insert

from aifarm.app.records import (
    AttemptRecord,
    CheckpointRecord,
    ClientRecord,
    ClientSample,
    DataRecord,
    EventRecord,
    LoginRecord,
    LogLines,
    OutputRecord,
    PaceRecord,
    PackageRecord,
    Points,
    TaskRecord,
    TokenRecord,
    UploadRecord,
)
from aifarm.core.client import Hold
from aifarm.core.task import RankKey
from aifarm.store import tables
from aifarm.store.errors import StoreConflict
from aifarm.store.facts import TAG, facts_of, tag_facts
from aifarm.store.metrics import MetricsWriter
from aifarm.store.rows import (
    ATTEMPTS,
    CHECKPOINTS,
    CLIENTS,
    DATA,
    EVENTS,
    HOLDS,
    LOGINS,
    OUTPUTS,
    PACES,
    PACKAGES,
    TASKS,
    TOKENS,
    UPLOADS,
    Rows,
)
from aifarm.store.samples import SamplesWriter
from aifarm.store.statements import Statement

_REPLACED = (CLIENTS, TOKENS, LOGINS, ATTEMPTS, HOLDS, UPLOADS, CHECKPOINTS, OUTPUTS, DATA, PACES)
"""Kinds of records of which the last one written stands."""

_ADDED = (PACKAGES, EVENTS)
"""Kinds that never change: a second row with the same key is a conflict."""


class Buffer:
    """`ports.Write`: the last value of each row."""

    def __init__(self) -> None:
        self.tasks: dict[str, tuple[TaskRecord, TaskRecord | None]] = {}
        self.progress: dict[str, TaskRecord] = {}
        self.rows: dict[Rows[Any], dict[tuple[Any, ...], Any]] = {}
        self.idempotency: dict[str, list[Any]] = {}
        self.tags: dict[str, Sequence[str]] = {}
        self.purged: list[str] = []
        self.logs: list[LogLines] = []
        self.points: dict[RankKey, Points] = {}
        self.samples: dict[str, list[ClientSample]] = {}
        self.paces_before: list[float] = []

    def put_task(self, record: TaskRecord, before: TaskRecord | None) -> None:
        task_id = record.task.id
        self.progress.pop(task_id, None)
        if task_id in self.tasks:
            before = self.tasks[task_id][1]
        self.tasks[task_id] = (record, before)

    def put_progress(self, record: TaskRecord) -> None:
        task_id = record.task.id
        if task_id not in self.tasks:
            self.progress[task_id] = record
            return
        whole, before = self.tasks[task_id]
        task = replace(whole.task, updated_at=record.task.updated_at)
        progressed = replace(whole, task=task, progress=record.progress, metrics=record.metrics)
        self.tasks[task_id] = (progressed, before)

    def put_hold(self, key: RankKey, hold: Hold | None) -> None:
        self._put(HOLDS, key, hold)

    def put_client(self, record: ClientRecord) -> None:
        self._put(CLIENTS, (record.id,), record)

    def drop_client(self, client_id: str) -> None:
        self._put(CLIENTS, (client_id,), None)
        self.samples.pop(client_id, None)

    def add_sample(self, client_id: str, sample: ClientSample) -> None:
        self.samples.setdefault(client_id, []).append(sample)

    def put_attempt(self, record: AttemptRecord) -> None:
        self._put(ATTEMPTS, (record.task_id, record.attempt), record)

    def put_token(self, record: TokenRecord) -> None:
        self._put(TOKENS, (record.id,), record)

    def put_login(self, record: LoginRecord) -> None:
        self._put(LOGINS, (record.digest,), record)

    def drop_login(self, digest: str) -> None:
        self._put(LOGINS, (digest,), None)

    def put_upload(self, record: UploadRecord) -> None:
        self._put(UPLOADS, (record.id,), record)

    def drop_upload(self, upload_id: str) -> None:
        self._put(UPLOADS, (upload_id,), None)

    def put_checkpoint(self, record: CheckpointRecord) -> None:
        self._put(CHECKPOINTS, (record.id,), record)

    def drop_checkpoint(self, checkpoint_id: str) -> None:
        self._put(CHECKPOINTS, (checkpoint_id,), None)

    def put_output(self, record: OutputRecord) -> None:
        self._put(OUTPUTS, (record.task_id, record.path), record)

    def drop_output(self, task_id: str, path: str) -> None:
        self._put(OUTPUTS, (task_id, path), None)

    def put_package(self, record: PackageRecord) -> None:
        self._put(PACKAGES, (record.name, record.version), record)

    def drop_package(self, name: str, version: str) -> None:
        self._put(PACKAGES, (name, version), None)

    def put_data(self, record: DataRecord) -> None:
        self._put(DATA, (record.sha256, record.putter), record)

    def drop_data(self, sha256: str, putter: str) -> None:
        self._put(DATA, (sha256, putter), None)

    def put_pace(self, record: PaceRecord) -> None:
        self._put(PACES, (record.package, record.gang), record)

    def drop_paces(self, before: float) -> None:
        self.paces_before.append(before)

    def put_tags(self, task_id: str, tags: Sequence[str]) -> None:
        self.tags[task_id] = tags

    def purge_task(self, task_id: str) -> None:
        self.purged.append(task_id)

    def put_idempotency(self, key: str, body: str, task_id: str, at: float) -> None:
        self.idempotency[key] = [key, body, task_id, at]

    def add_event(self, event: EventRecord) -> None:
        self._put(EVENTS, (event.id,), event)

    def add_points(self, key: RankKey, points: Points) -> None:
        self.points.setdefault(key, []).extend(points)

    def add_log(self, lines: LogLines) -> None:
        if lines.lines:
            self.logs.append(lines)

    def _put(self, kind: Rows[Any], key: tuple[Any, ...], record: Any) -> None:
        self.rows.setdefault(kind, {})[key] = record


class Writer:
    """Turns a Buffer into statements. Owned by the writer."""

    def __init__(self, dialect: Dialect, upsert: Callable[[Table], Insert]) -> None:
        def inserting(table: Table) -> Statement:
            return Statement(insert(table), table.columns, dialect)

        def upserting(table: Table) -> Statement:
            return Statement(upsert(table), table.columns, dialect)

        self._insert_tasks = inserting(tables.tasks)
        self._update_tasks = _guarded([c for c in tables.tasks.columns if c.name != "id"], dialect)
        self._update_progress = _guarded([tables.tasks.c[name] for name in _PROGRESS], dialect)
        self._put: dict[Rows[Any], Statement] = {kind: upserting(kind.table) for kind in _REPLACED}
        self._put |= {kind: inserting(kind.table) for kind in _ADDED}
        removed = (HOLDS, UPLOADS, CHECKPOINTS, OUTPUTS, PACKAGES, CLIENTS, DATA, LOGINS)
        self._remove = {kind: _removal(kind.table, dialect) for kind in removed}
        self._put_placements = upserting(tables.placements)
        self._put_idempotency = upserting(tables.idempotency)
        self._insert_logs = inserting(tables.logs)
        self._insert_facts = inserting(tables.facts)
        untagged = delete(tables.facts).where(
            tables.facts.c.task_id == bindparam("task_id"),
            tables.facts.c.key == literal_column(f"'{TAG}'"),
        )
        self._remove_tags = Statement(untagged, [tables.facts.c.task_id], dialect)
        measured = tables.paces.c.at
        old = delete(tables.paces).where(measured < bindparam("at"))
        self._remove_paces = Statement(old, [measured], dialect)
        self._purge = _purge(dialect)
        self._metrics = MetricsWriter(dialect, upsert)
        self._samples = SamplesWriter(dialect, upsert)

    def write(self, connection: Connection, buffer: Buffer) -> None:
        """Executes the buffer in the connection's transaction. Raises StoreConflict."""
        self._write_tasks(connection, buffer)
        for kind, records in buffer.rows.items():
            gone = [list(key) for key, record in records.items() if record is None]
            if gone:
                self._remove[kind].many(connection, gone)
            if gone and kind is CLIENTS:
                self._samples.drop(connection, [client_id for (client_id,) in gone])
            kept = [kind.values(record) for record in records.values() if record is not None]
            self._put[kind].many(connection, kept)
        placed = [
            [record.task_id, record.attempt, rank, client_id]
            for record in buffer.rows.get(ATTEMPTS, {}).values()
            for rank, client_id in enumerate(record.clients)
        ]
        self._put_placements.many(connection, placed)
        self._put_idempotency.many(connection, list(buffer.idempotency.values()))
        segments = [[*log.key, log.first, len(log.lines), log.lines] for log in buffer.logs]
        self._insert_logs.many(connection, segments)
        ended = {task_id for task_id, (record, _) in buffer.tasks.items() if record.task.final}
        self._metrics.write(connection, buffer.points, ended)
        self._samples.write(connection, buffer.samples)
        self._remove_paces.many(connection, [[before] for before in buffer.paces_before])
        for statement in self._purge:
            statement.many(connection, [[task_id] for task_id in buffer.purged])

    def forget(self) -> None:
        """A transaction failed: what memory says of the database is wrong."""
        self._metrics.forget()
        self._samples.forget()

    def _write_tasks(self, connection: Connection, buffer: Buffer) -> None:
        new = [TASKS.values(record) for record, before in buffer.tasks.values() if before is None]
        self._insert_tasks.many(connection, new)
        self._write_facts(connection, buffer)
        changed = [
            [*TASKS.values(record)[1:], record.task.id, before.task.attempt, before.task.state]
            for record, before in buffer.tasks.values()
            if before is not None
        ]
        progressed = [
            [
                record.progress,
                record.metrics,
                record.task.updated_at,
                record.task.id,
                record.task.attempt,
                record.task.state,
            ]
            for record in buffer.progress.values()
        ]
        for statement, rows in (
            (self._update_tasks, changed),
            (self._update_progress, progressed),
        ):
            if statement.many(connection, rows) != len(rows):
                raise StoreConflict(
                    "A task in the database is not as this server last wrote it: does another"
                    " program write to it?"
                )

    def _write_facts(self, connection: Connection, buffer: Buffer) -> None:
        new = [record for record, before in buffer.tasks.values() if before is None]
        rows = [row for record in new for row in facts_of(record)]
        self._remove_tags.many(connection, [[task_id] for task_id in buffer.tags])
        for task_id, tags in buffer.tags.items():
            rows += tag_facts(task_id, tags)
        self._insert_facts.many(connection, rows)


_PROGRESS = ("progress", "metrics", "updated_at")


def _guarded(columns: list[Any], dialect: Dialect) -> Statement:
    """Sets `columns` of a task, then takes its id, and attempt and state as they must be."""
    tasks = tables.tasks
    guards = (tasks.c.id, tasks.c.attempt, tasks.c.state)
    statement = (
        update(tasks)
        .where(*(column == bindparam(f"old_{column.name}") for column in guards))
        .values({column.name: bindparam(f"new_{column.name}") for column in columns})
    )
    return Statement(statement, (*columns, *guards), dialect)


def _purge(dialect: Dialect) -> list[Statement]:
    """Everything of one task, what refers to other rows before these."""
    its = bindparam("task_id")
    of_task = (
        tables.series,
        tables.logs,
        tables.events,
        tables.facts,
        tables.placements,
        tables.attempts,
        tables.uploads,
        tables.checkpoints,
        tables.outputs,
    )
    series = select(tables.series.c.id).where(tables.series.c.task_id == its)
    return [
        Statement(statement, [tables.tasks.c.id], dialect)
        for statement in (
            delete(tables.blocks).where(tables.blocks.c.series_id.in_(series)),
            *(delete(table).where(table.c.task_id == its) for table in of_task),
            delete(tables.tasks).where(tables.tasks.c.id == its),
        )
    ]


def _removal(table: Table, dialect: Dialect) -> Statement:
    keys = table.primary_key.columns
    statement = delete(table).where(*(column == bindparam(column.name) for column in keys))
    return Statement(statement, keys, dialect)
