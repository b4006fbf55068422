"""A batch of writes while it is being made: what operations change before anything is durable.

Operations run on the writer's side, one after the other. Each sees what the earlier ones of the
batch did; one that raises leaves no trace. At the end everything goes to the store in one
transaction.
"""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from aifarm.app.ports import NewId, Store, Write
from aifarm.app.records import (
    AttemptRecord,
    ClientRecord,
    DataRecord,
    EventRecord,
    LoginRecord,
    LogLines,
    OutputRecord,
    PackageRecord,
    Points,
    TaskRecord,
    TokenRecord,
    UploadRecord,
)
from aifarm.app.translate import builds, capacity_of
from aifarm.core.client import Client, Hold, Outcome
from aifarm.core.farm import Farm
from aifarm.core.room import Capacity
from aifarm.core.task import Command, Note, RankKey, Task

_ATTEMPT_ENDS = frozenset(
    {"attempt_lost", "attempt_failed", "returned", "vacated", "completed", "failed", "stopped"}
)

_ROUTINE = frozenset({"checkpoint", "checkpoint_failed"})
ROUTINE_EVENTS = 1_000
"""Routine events kept of one task, so that weeks of short epochs do not swell the story."""


class Changes(Struct, frozen=True):
    """What a batch made true, as values that anyone may keep. `settled`: tasks that were over
    before, and of which something else was changed."""

    tasks: tuple[TaskRecord, ...] = ()
    settled: tuple[TaskRecord, ...] = ()
    clients: tuple[ClientRecord, ...] = ()
    forgotten: tuple[str, ...] = ()
    tokens: tuple[TokenRecord, ...] = ()
    logins: tuple[LoginRecord, ...] = ()
    logged_out: tuple[str, ...] = ()
    events: tuple[EventRecord, ...] = ()
    points: tuple[tuple[RankKey, Points], ...] = ()
    logs: tuple[LogLines, ...] = ()
    commands: tuple[Command, ...] = ()


class Draft:
    """The writer's memory and the batch on top of it. Owned by the writer alone."""

    def __init__(self, store: Store, new_id: NewId) -> None:
        self.store = store
        self.new_id = new_id
        self.at = 0.0
        self.farm = Farm()
        self.records: dict[str, TaskRecord] = {}
        self.clients: dict[str, ClientRecord] = {}
        self.tokens: dict[str, TokenRecord] = {}
        self.logins: dict[str, LoginRecord] = {}
        self.attempts: dict[str, AttemptRecord] = {}
        self.packages: dict[tuple[str, str], PackageRecord] = {}
        self.uploads: dict[str, UploadRecord] = {}
        self.kept: dict[str, dict[str, OutputRecord]] = {}
        self.settled: dict[str, TaskRecord] = {}
        self.data: dict[tuple[str, str], DataRecord] = {}
        self._gone: dict[tuple[str, ...], bool] = {}
        self.log_lengths: dict[RankKey, int] = {}
        self._keys: dict[str, tuple[str, str]] = {}
        self._routine: dict[str, int] = {}
        self._rows: list[tuple[str, tuple[Any, ...]]] = []
        self._events: list[EventRecord] = []
        self._points: list[tuple[RankKey, Points]] = []
        self._logs: list[LogLines] = []
        self._commands: list[Command] = []
        self._lists: tuple[list[Any], ...] = (
            self._rows,
            self._events,
            self._points,
            self._logs,
            self._commands,
        )
        self.last_event = 0
        self.sound = True

    def load(self, at: float) -> None:
        """What the store holds; every rank is out of contact until its client says hello."""
        loaded = self.store.load()
        self.at = at
        self.last_event = loaded.last_event
        self.records = {record.task.id: record for record in loaded.tasks}
        self.clients = {client.id: client for client in loaded.clients}
        self.tokens = {token.id: token for token in loaded.tokens}
        self.logins = {login.digest: login for login in loaded.logins}
        self.farm.load(
            [record.task for record in loaded.tasks],
            [
                Client(
                    one.id,
                    capacity_of(one.resources) if one.resources else Capacity(),
                    speaks=one.speaks,
                    drained=one.drained,
                    environments=builds(one.environments),
                )
                for one in loaded.clients
            ],
            loaded.holds,
        )
        for record in loaded.tasks:
            attempt = self.store.attempt(record.task.id, record.task.attempt)
            if attempt is not None:
                self.attempts[record.task.id] = attempt

    # ------------------------------------------------------------ for operations

    def take(self, outcome: Outcome) -> Outcome:
        """What the core decided becomes part of the batch: commands to send, events to keep."""
        self._commands.extend(outcome.commands)
        for note in outcome.notes:
            self.note(note)
            if note.kind in ("drained", "undrained") and note.client_id in self.clients:
                drained = self.farm.clients[note.client_id].drained
                self.set_client(replace(self.clients[note.client_id], drained=drained))
        return outcome

    def note(self, note: Note) -> None:
        """One line of the story, numbered."""
        if note.kind in _ROUTINE and note.task_id is not None:
            count = self._routine.get(note.task_id, 0)
            if count >= ROUTINE_EVENTS:
                return
            self.farm.ledger.put(self._routine, note.task_id, count + 1)
        self.last_event += 1
        self._events.append(
            EventRecord(
                id=self.last_event,
                at=self.at,
                kind=note.kind,
                message=note.message,
                task_id=note.task_id,
                client_id=note.client_id,
                attempt=note.attempt,
            )
        )
        task = self.farm.tasks.get(note.task_id or "")
        if task is not None and note.attempt is not None:
            self._track(task, note)

    def put(self, row: str, *values: Any) -> None:
        """Calls `Write.<row>(*values)` when the batch is written."""
        self._rows.append((row, values))

    def set_record(self, record: TaskRecord) -> None:
        self.farm.ledger.put(self.records, record.task.id, record)

    def settle(self, record: TaskRecord) -> None:
        """Changes a task that is over and lives in the store alone; attempt and state stay."""
        self.farm.ledger.put(self.settled, record.task.id, record)

    def take_out(self, *what: str) -> None:
        """Says that a stored thing is deleted in this batch, so that nobody builds on it."""
        self.farm.ledger.put(self._gone, what, True)

    def is_out(self, *what: str) -> bool:
        return what in self._gone

    def set_client(self, record: ClientRecord) -> None:
        self.farm.ledger.put(self.clients, record.id, record)

    def forget_client(self, client_id: str) -> None:
        """It is away and holds nothing."""
        self.farm.forget(client_id)
        self.farm.ledger.put(self.clients, client_id, None)
        self.put("drop_client", client_id)

    def set_token(self, record: TokenRecord) -> None:
        self.farm.ledger.put(self.tokens, record.id, record)

    def add_login(self, record: LoginRecord) -> None:
        self.farm.ledger.put(self.logins, record.digest, record)
        self.put("put_login", record)

    def drop_login(self, digest: str) -> None:
        self.farm.ledger.put(self.logins, digest, None)
        self.put("drop_login", digest)

    def add_points(self, key: RankKey, points: Points) -> None:
        self._points.append((key, points))

    def add_log(self, key: RankKey, lines: list[str], open_line: str = "") -> None:
        first = self.log_lengths.get(key)
        if first is None:
            first = self.store.log_length(key)
        self.farm.ledger.put(self.log_lengths, key, first + len(lines))
        self._logs.append(LogLines(key, first, tuple(lines), open_line))

    def package(self, name: str, version: str) -> PackageRecord | None:
        """Published packages never change, so those asked for stay in memory."""
        if self.is_out("package", name, version):
            return None
        found = self.packages.get((name, version)) or self.store.package(name, version)
        if found is not None:
            self.packages[name, version] = found
        return found

    def add_package(self, record: PackageRecord) -> None:
        self.farm.ledger.put(self.packages, (record.name, record.version), record)
        self.put("put_package", record)

    def drop_package(self, record: PackageRecord) -> None:
        self.farm.ledger.put(self.packages, (record.name, record.version), None)
        self.take_out("package", record.name, record.version)
        self.put("drop_package", record.name, record.version)

    def upload(self, upload_id: str) -> UploadRecord | None:
        return self.uploads.get(upload_id) or self.store.upload(upload_id)

    def set_upload(self, record: UploadRecord) -> None:
        self.farm.ledger.put(self.uploads, record.id, record)
        self.put("put_upload", record)

    def drop_upload(self, upload_id: str) -> None:
        self.farm.ledger.put(self.uploads, upload_id, None)
        self.put("drop_upload", upload_id)

    def outputs(self, task_id: str) -> dict[str, OutputRecord]:
        """The files that a task keeps, by path; in memory from the first of them on, until the
        task is over."""
        known = self.kept.get(task_id)
        if known is None:
            known = {record.path: record for record in self.store.outputs(task_id)}
        return known

    def change_outputs(
        self, task_id: str, files: Iterable[OutputRecord], removed: Iterable[str]
    ) -> None:
        kept = dict(self.outputs(task_id))
        for path in removed:
            if kept.pop(path, None) is not None:
                self.put("drop_output", task_id, path)
        for record in files:
            kept[record.path] = record
            self.put("put_output", record)
        self.farm.ledger.put(self.kept, task_id, kept)

    def answered(self, key: str) -> tuple[str, str] | None:
        """(digest of the body, task id) of the creation that used this idempotency key."""
        return self._keys.get(key) or self.store.idempotent(key)

    def answer(self, key: str, digest: str, task_id: str) -> None:
        self.farm.ledger.put(self._keys, key, (digest, task_id))
        self.put("put_idempotency", key, digest, task_id, self.at)

    def set_attempt(self, record: AttemptRecord) -> None:
        self.farm.ledger.put(self.attempts, record.task_id, record)
        self.put("put_attempt", record)

    def _track(self, task: Task, note: Note) -> None:
        """The history of attempts follows the story: it is the same facts, by attempt."""
        current = self.attempts.get(task.id)
        if note.kind == "assigned":
            if current is not None and current.ended_at is None:
                self.set_attempt(replace(current, ended_at=self.at, outcome="attempt_lost"))
            clients = tuple(rank.client_id for rank in task.ranks)
            self.set_attempt(AttemptRecord(task.id, task.attempt, clients, self.at))
        elif current is None or current.attempt != note.attempt:
            return
        elif note.kind == "running" and current.started_at is None:
            self.set_attempt(replace(current, started_at=self.at))
        elif note.kind in _ATTEMPT_ENDS and current.ended_at is None:
            ended = replace(current, ended_at=self.at, outcome=note.kind, message=note.message)
            self.set_attempt(ended)

    # ------------------------------------------------------------ for the writer

    def savepoint(self) -> tuple[int, ...]:
        return (self.farm.savepoint(), self.last_event, *map(len, self._lists))

    def rollback(self, mark: tuple[int, ...]) -> None:
        self.farm.rollback(mark[0])
        self.last_event = mark[1]
        for items, length in zip(self._lists, mark[2:], strict=True):
            del items[length:]

    def place(self) -> None:
        self.take(self.farm.place(self.at))

    def write(self, tx: Write) -> None:
        """Everything of this batch, into one transaction."""
        before = {
            (id(table), key): value for table, key, value in reversed(self.farm.ledger.entries)
        }
        for table, key in self.farm.ledger.touched():
            if table is self.farm.tasks:
                record, task = self._whole(key), before[id(table), key]
                tx.put_task(record, None if task is None else replace(record, task=task))
            elif table is self.records:
                if (id(self.farm.tasks), key) in before:
                    continue
                record = self._whole(key)
                if _only_progress(before[id(table), key], record):
                    tx.put_progress(record)
                else:
                    tx.put_task(record, record)
            elif table is self.settled:
                tx.put_task(self.settled[key], self.settled[key])
            elif table is self.farm.holds:
                tx.put_hold(key, self.farm.holds.get(key))
            elif table is self.clients:
                if key in self.clients:
                    tx.put_client(self.clients[key])
            elif table is self.tokens:
                tx.put_token(self.tokens[key])
        for row, values in self._rows:
            getattr(tx, row)(*values)
        for event in self._events:
            tx.add_event(event)
        for rank, points in self._points:
            tx.add_points(rank, points)
        for lines in self._logs:
            tx.add_log(lines)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to make durable."""
        durable = (
            self.farm.tasks,
            self.records,
            self.settled,
            self.farm.holds,
            self.clients,
            self.tokens,
        )
        return not (self._rows or self._events or self._points or self._logs) and not any(
            any(table is one for one in durable) for table, _ in self.farm.ledger.touched()
        )

    def commit(self) -> Changes:
        """The batch is durable: make it the present, and hand out what it changed."""
        self.sound = self.sound or not self.empty
        touched = self.farm.ledger.touched()
        ids = dict.fromkeys(
            key for table, key in touched if table is self.farm.tasks or table is self.records
        )
        changes = Changes(
            tasks=tuple(self._whole(task_id) for task_id in ids),
            settled=tuple(self.settled.values()),
            clients=tuple(
                self.clients[key]
                for key in dict.fromkeys(
                    key
                    for table, key in touched
                    if (table is self.clients or table is self.farm.clients) and key in self.clients
                )
            ),
            forgotten=tuple(
                key for table, key in touched if table is self.clients and key not in self.clients
            ),
            tokens=tuple(self.tokens[key] for table, key in touched if table is self.tokens),
            logins=tuple(
                self.logins[key]
                for table, key in touched
                if table is self.logins and key in self.logins
            ),
            logged_out=tuple(
                key for table, key in touched if table is self.logins and key not in self.logins
            ),
            events=tuple(self._events),
            points=tuple(self._points),
            logs=tuple(self._logs),
            commands=tuple(self._commands),
        )
        self.farm.commit()
        for record in changes.tasks:
            if record.task.final:
                self._forget(record.task.id)
            else:
                self.records[record.task.id] = record
        for short_lived in (self._keys, self.settled, self.data, self._gone):
            short_lived.clear()
        for items in self._lists:
            items.clear()
        return changes

    def drop(self) -> None:
        """The batch could not be made durable: it never was."""
        self.sound = False
        self.rollback((0, self.last_event - len(self._events), *(0 for _ in self._lists)))

    def _whole(self, task_id: str) -> TaskRecord:
        record = self.records[task_id]
        task = self.farm.tasks.get(task_id)
        return record if task is None or task is record.task else replace(record, task=task)

    def _forget(self, task_id: str) -> None:
        """A final task lives in the store alone, but for ranks whose workers still wind down."""
        self.records.pop(task_id, None)
        self.attempts.pop(task_id, None)
        self._routine.pop(task_id, None)
        self.kept.pop(task_id, None)
        for key in [key for key in self.log_lengths if key.task_id == task_id]:
            del self.log_lengths[key]

    def hold_of(self, client_id: str, task_id: str) -> Hold | None:
        """What this client holds of a task, the newest attempt first."""
        client = self.farm.clients.get(client_id)
        keys = [key for key in client.holds if key.task_id == task_id] if client else []
        return self.farm.holds[max(keys)] if keys else None


def _only_progress(before: TaskRecord, after: TaskRecord) -> bool:
    return (
        before.spec is after.spec
        and before.checkpoint == after.checkpoint
        and before.deleted_at == after.deleted_at
        and before.about is after.about
    )
