"""What is committed, for any thread: every method is one snapshot of the database."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, func, literal, select, tuple_
from sqlalchemy import exc as sql

from aifarm.app.ports import ANY, Loaded, Page
from aifarm.app.records import (
    AttemptRecord,
    CheckpointRecord,
    ClientSample,
    DataRecord,
    EventRecord,
    LogLines,
    MetricPart,
    OutputRecord,
    PaceRecord,
    PackageRecord,
    Series,
    SummaryRecord,
    TaskRecord,
    TokenRecord,
    UploadRecord,
)
from aifarm.app.search import Position, Search
from aifarm.core.client import Hold
from aifarm.core.task import FINAL, RankKey, State
from aifarm.store import curves, retention, samples, tables
from aifarm.store.database import Database
from aifarm.store.errors import StoreConflict, StoreUnavailable
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
)
from aifarm.store.search import behind, clauses, conditions, keys
from aifarm.wire.types import Purpose

_NOT_FINAL = [str(state) for state in State if state not in FINAL]


class Reads:
    """Every method raises StoreUnavailable where the database fails."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._closed = False

    @property
    def kind(self) -> str:
        return self._database.dialect.name

    def load(self) -> Loaded:
        with self._reading() as connection:
            unfinished = select(tables.tasks).where(tables.tasks.c.state.in_(_NOT_FINAL))
            return Loaded(
                tasks=TASKS.records(connection.execute(unfinished).all()),
                clients=CLIENTS.records(connection.execute(select(tables.clients)).all()),
                holds=HOLDS.records(connection.execute(select(tables.ranks)).all()),
                tokens=TOKENS.records(connection.execute(select(tables.tokens)).all()),
                logins=LOGINS.records(connection.execute(select(tables.logins)).all()),
                last_event=connection.execute(select(func.max(tables.events.c.id))).scalar() or 0,
            )

    def task(self, task_id: str, deleted: bool = False) -> TaskRecord | None:
        """`deleted`: look in the trash instead."""
        row = self._row(tables.tasks, id=task_id, deleted=deleted)
        return None if row is None else TASKS.record(row)

    def tasks(
        self,
        search: Search = ANY,
        *,
        offset: int = 0,
        after: Position | None = None,
        limit: int = 100,
        counted: bool = True,
    ) -> Page[TaskRecord]:
        """What `search` asks for, from its `offset`-th on, or from what comes behind `after`.
        `total` is None unless `counted`."""
        table = tables.tasks
        wanted, by = conditions(search), keys(search.order)
        found = (
            select(table, *(key.value for key in by))
            .where(*wanted)
            .order_by(*clauses(search.order, by))
            .offset(offset)
            .limit(limit + 1)
        )
        if after is not None:
            found = found.where(behind(search.order, by, after))
        count = select(func.count()).select_from(table).where(*wanted)
        width = len(table.columns)
        with self._reading() as connection:
            total = connection.execute(count).scalar_one() if counted else None
            rows = connection.execute(found).all()
            records = [TASKS.record(row[:width]) for row in rows[:limit]]
            following = tuple(rows[limit - 1][width:]) if len(rows) > limit else None
            return Page(records, total, following)

    def trash(self, before: float | None = None) -> list[TaskRecord]:
        """Deleted tasks, those that were deleted `before` this time."""
        table = tables.tasks
        query = select(table).where(table.c.deleted.is_(True)).order_by(table.c.created_at)
        if before is not None:
            query = query.where(table.c.deleted_at < before)
        with self._reading() as connection:
            return TASKS.records(connection.execute(query).all())

    def begun_from(self, checkpoint_ids: Sequence[str]) -> dict[str, list[str]]:
        """For each of these checkpoints with which tasks began: the ids of these, oldest first."""
        table = tables.tasks
        query = (
            select(table.c.from_checkpoint, table.c.id)
            .where(table.c.from_checkpoint.in_(checkpoint_ids))
            .order_by(table.c.created_at, table.c.id)
        )
        found: dict[str, list[str]] = {}
        with self._reading() as connection:
            for checkpoint_id, task_id in connection.execute(query):
                found.setdefault(checkpoint_id, []).append(task_id)
        return found

    def counts(self) -> dict[str, int]:
        table = tables.tasks
        query = (
            select(table.c.state, func.count())
            .where(table.c.deleted.is_(False))
            .group_by(table.c.state)
        )
        with self._reading() as connection:
            return {state: count for state, count in connection.execute(query)}

    def attempts(self, task_id: str) -> list[AttemptRecord]:
        """The first attempt first."""
        return self._attempts(tables.attempts.c.task_id == task_id)

    def attempt(self, task_id: str, attempt: int) -> AttemptRecord | None:
        table = tables.attempts
        found = self._attempts(table.c.task_id == task_id, table.c.attempt == attempt)
        return found[0] if found else None

    def _attempts(self, *conditions: ColumnElement[bool]) -> list[AttemptRecord]:
        table, placements = tables.attempts, tables.placements
        placed = (
            select(placements.c.attempt, placements.c.client_id)
            .join(
                table,
                (table.c.task_id == placements.c.task_id)
                & (table.c.attempt == placements.c.attempt),
            )
            .where(*conditions)
            .order_by(placements.c.rank)
        )
        with self._reading() as connection:
            rows = connection.execute(select(table).where(*conditions).order_by(table.c.attempt))
            clients: dict[int, list[str]] = {}
            for attempt, client_id in connection.execute(placed):
                clients.setdefault(attempt, []).append(client_id)
            return [ATTEMPTS.record(row, clients=clients.get(row.attempt, ())) for row in rows]

    def holds(self, task_id: str) -> list[Hold]:
        """What the ranks of a task hold, of all its attempts."""
        table = tables.ranks
        with self._reading() as connection:
            return HOLDS.records(
                connection.execute(select(table).where(table.c.task_id == task_id)).all()
            )

    def samples(self, client_id: str, since: float, until: float) -> list[ClientSample]:
        """In order of time, from `since` to before `until`."""
        with self._reading() as connection:
            return samples.read(connection, client_id, since, until)

    def performance(self, client_id: str) -> tuple[int, int, float]:
        """(completed attempts, ended attempts, mean seconds of the completed) on a client."""
        table, placements = tables.attempts, tables.placements
        completed = table.c.outcome == "completed"
        began = func.coalesce(table.c.started_at, table.c.assigned_at)
        ran_here = (
            select(placements.c.task_id, placements.c.attempt)
            .where(placements.c.client_id == client_id)
            .distinct()
            .subquery()
        )
        query = (
            select(
                func.count().filter(completed),
                func.count(),
                func.avg(table.c.ended_at - began).filter(completed),
            )
            .select_from(ran_here)
            .join(
                table,
                (table.c.task_id == ran_here.c.task_id) & (table.c.attempt == ran_here.c.attempt),
            )
            .where(table.c.ended_at.is_not(None))
        )
        with self._reading() as connection:
            done, ended, mean = connection.execute(query).one()
            return done, ended, mean or 0.0

    def events(
        self,
        *,
        after: int = 0,
        task_id: str | None = None,
        client_id: str | None = None,
        limit: int = 1000,
    ) -> list[EventRecord]:
        """Oldest first, from the one behind `after` on."""
        table = tables.events
        query = select(table).where(table.c.id > after).order_by(table.c.id).limit(limit)
        if task_id is not None:
            query = query.where(table.c.task_id == task_id)
        if client_id is not None:
            query = query.where(table.c.client_id == client_id)
        with self._reading() as connection:
            return EVENTS.records(connection.execute(query).all())

    def log(
        self, task_id: str, *, attempt: int | None, rank: int, first: int = 0, limit: int = 1000
    ) -> LogLines:
        """At most `limit` lines from `first` on. `attempt` None: the latest that has lines."""
        table = tables.logs
        with self._reading() as connection:
            if attempt is None:
                latest = select(func.max(table.c.attempt)).where(
                    table.c.task_id == task_id, table.c.rank == rank
                )
                attempt = connection.execute(latest).scalar() or 0
            of_rank = _of_rank(table, RankKey(task_id, attempt, rank))
            begin = select(func.max(table.c.first)).where(*of_rank, table.c.first <= first)
            segments = select(table.c.first, table.c.lines).where(
                *of_rank,
                table.c.first >= func.coalesce(begin.scalar_subquery(), first),
                table.c.first < first + limit,
            )
            lines: list[str] = []
            for start, segment in connection.execute(segments.order_by(table.c.first)):
                lines.extend(segment[max(0, first - start) :])
        return LogLines(RankKey(task_id, attempt, rank), first, tuple(lines[:limit]))

    def log_length(self, key: RankKey) -> int:
        table = tables.logs
        query = select(table.c.first + table.c.length).where(*_of_rank(table, key))
        with self._reading() as connection:
            return connection.execute(query.order_by(table.c.first.desc()).limit(1)).scalar() or 0

    def series(
        self,
        task_id: str,
        *,
        names: Sequence[str] = (),
        points: int | None = 1000,
        first: int = 0,
        last: int | None = None,
    ) -> list[Series]:
        """See `curves`. `points` None: all. Steps `first` to `last`, both included."""
        end = inf if last is None else last + 1
        with self._reading() as connection:
            return curves.curves(connection, task_id, names, points, first, end)

    def points(self, task_id: str, *, names: Sequence[str] = ()) -> Iterator[MetricPart]:
        """All points, one metric after the other. Each part is read when it is asked for, as of
        that moment."""
        with self._reading() as connection:
            lines = curves.lines(connection, task_id, names)
        for line in lines:
            at = 0
            while True:
                with self._reading() as connection:
                    found = curves.part(connection, line, at)
                at += found.length
                if not found.length:
                    break
                yield MetricPart(line.name, *found.points)

    def summaries(
        self, task_ids: Sequence[str], *, names: Sequence[str] = ()
    ) -> dict[str, list[SummaryRecord]]:
        """By task, of all metrics or of these."""
        with self._reading() as connection:
            return curves.summaries(connection, task_ids, names)

    def checkpoints(self, task_id: str) -> list[CheckpointRecord]:
        """Latest step first."""
        table = tables.checkpoints
        query = select(table).where(table.c.task_id == task_id)
        with self._reading() as connection:
            newest = query.order_by(table.c.step.desc(), table.c.created_at.desc())
            rows = connection.execute(newest)
            return CHECKPOINTS.records(rows.all())

    def checkpoint(self, checkpoint_id: str) -> CheckpointRecord | None:
        row = self._row(tables.checkpoints, id=checkpoint_id)
        return None if row is None else CHECKPOINTS.record(row)

    def outputs(self, task_id: str) -> list[OutputRecord]:
        """By path."""
        table = tables.outputs
        query = select(table).where(table.c.task_id == task_id).order_by(table.c.path)
        with self._reading() as connection:
            return OUTPUTS.records(connection.execute(query).all())

    def output(self, task_id: str, path: str) -> OutputRecord | None:
        row = self._row(tables.outputs, task_id=task_id, path=path)
        return None if row is None else OUTPUTS.record(row)

    def outputs_elsewhere(self, task_id: str) -> set[str]:
        """Where those bytes of a task's outputs lie that are other tasks' outputs, too."""
        table = tables.outputs
        own = select(table.c.key).where(table.c.task_id == task_id)
        shared = select(table.c.key).where(table.c.key.in_(own), table.c.task_id != task_id)
        with self._reading() as connection:
            return set(connection.scalars(shared))

    def surplus(self, before: float) -> list[str]:
        """The ids of checkpoints made `before` this time that are no longer kept."""
        with self._reading() as connection:
            return list(connection.scalars(retention.surplus(before)))

    def artifact_keys(self) -> set[str]:
        """Where everything lies that a row speaks of."""
        of = (tables.checkpoints, tables.outputs, tables.packages, tables.uploads, tables.data)
        with self._reading() as connection:
            return {key for table in of for (key,) in connection.execute(select(table.c.key)).all()}

    def upload(self, upload_id: str) -> UploadRecord | None:
        row = self._row(tables.uploads, id=upload_id)
        return None if row is None else UPLOADS.record(row)

    def uploads(
        self, *, task_id: str | None = None, before: float | None = None
    ) -> list[UploadRecord]:
        """Those of a task, and those begun `before` this time."""
        table = tables.uploads
        query = select(table)
        if task_id is not None:
            query = query.where(table.c.task_id == task_id)
        if before is not None:
            query = query.where(table.c.created_at < before)
        with self._reading() as connection:
            return UPLOADS.records(connection.execute(query).all())

    def find_upload(
        self, task_id: str, attempt: int, sha256: str, purpose: Purpose
    ) -> UploadRecord | None:
        row = self._row(
            tables.uploads, task_id=task_id, attempt=attempt, sha256=sha256, purpose=purpose
        )
        return None if row is None else UPLOADS.record(row)

    def package(self, name: str, version: str) -> PackageRecord | None:
        row = self._row(tables.packages, name=name, version=version)
        return None if row is None else PACKAGES.record(row)

    def paces(self, package: str, gang: str) -> list[PaceRecord]:
        """Those of the package, and those of the gang, the latest first."""
        table = tables.paces
        wanted = (table.c.package == package) | (table.c.gang == gang)
        with self._reading() as connection:
            rows = connection.execute(select(table).where(wanted).order_by(table.c.at.desc()))
            return PACES.records(rows.all())

    def packages(
        self,
        name: str | None = None,
        *,
        offset: int = 0,
        after: Position | None = None,
        limit: int = 1000,
        counted: bool = True,
    ) -> Page[PackageRecord]:
        """By name, the oldest version first; otherwise as `tasks`."""
        table = tables.packages
        wanted = [] if name is None else [table.c.name == name]
        by = (table.c.name, table.c.created_at, table.c.version)
        found = select(table).where(*wanted).order_by(*by).offset(offset).limit(limit + 1)
        if after is not None:
            found = found.where(tuple_(*by) > tuple_(*map(literal, after)))
        count = select(func.count()).select_from(table).where(*wanted)
        with self._reading() as connection:
            total = connection.execute(count).scalar_one() if counted else None
            records = PACKAGES.records(connection.execute(found).all())
        shown = records[:limit]
        last = shown[-1] if len(records) > limit else None
        following = (last.name, last.created_at, last.version) if last is not None else None
        return Page(shown, total, following)

    def data(self, sha256: str, putter: str | None = None) -> DataRecord | None:
        """What is complete; with a `putter` theirs, also on its way."""
        whose = {"complete": True} if putter is None else {"putter": putter}
        row = self._row(tables.data, sha256=sha256, **whose)
        return None if row is None else DATA.record(row)

    def data_page(
        self,
        name: str | None = None,
        *,
        offset: int = 0,
        after: Position | None = None,
        limit: int = 100,
        counted: bool = True,
    ) -> Page[DataRecord]:
        """What is complete, the newest first; otherwise as `tasks`."""
        table = tables.data
        wanted = [table.c.complete.is_(True), *([] if name is None else [table.c.name == name])]
        by = (table.c.created_at, table.c.sha256)
        newest = (column.desc() for column in by)
        found = select(table).where(*wanted).order_by(*newest).offset(offset).limit(limit + 1)
        if after is not None:
            found = found.where(tuple_(*by) < tuple_(*map(literal, after)))
        count = select(func.count()).select_from(table).where(*wanted)
        with self._reading() as connection:
            total = connection.execute(count).scalar_one() if counted else None
            records = DATA.records(connection.execute(found).all())
        last = records[limit - 1] if len(records) > limit else None
        following = (last.created_at, last.sha256) if last is not None else None
        return Page(records[:limit], total, following)

    def data_on_its_way(self, before: float) -> list[DataRecord]:
        """What was begun `before` this time and is not complete."""
        table = tables.data
        query = select(table).where(table.c.complete.is_(False), table.c.created_at < before)
        with self._reading() as connection:
            return DATA.records(connection.execute(query).all())

    def stored(self, submitter: str) -> int:
        """Bytes of what this person published and put, and of the checkpoints and outputs of their
        tasks, the trash included."""
        packages, data, tasks = tables.packages, tables.data, tables.tasks
        sums = [
            select(func.sum(packages.c.size)).where(packages.c.publisher == submitter),
            select(func.sum(data.c.size)).where(data.c.putter == submitter),
            *(
                select(func.sum(kept.c.size))
                .join(tasks, tasks.c.id == kept.c.task_id)
                .where(tasks.c.submitter == submitter, kept.c.attempt > 0)  # 0: another task's
                for kept in (tables.checkpoints, tables.outputs)
            ),
        ]
        with self._reading() as connection:
            return sum(int(connection.execute(of).scalar() or 0) for of in sums)

    def tokens(self) -> list[TokenRecord]:
        """The oldest first, revoked ones too."""
        with self._reading() as connection:
            query = select(tables.tokens).order_by(tables.tokens.c.created_at)
            return TOKENS.records(connection.execute(query).all())

    def idempotent(self, key: str) -> tuple[str, str] | None:
        """(digest of the body, task id)."""
        row = self._row(tables.idempotency, key=key)
        return None if row is None else (row.body, row.task_id)

    def _row(self, table: Table, **equal: Any) -> Row[Any] | None:
        query = select(table).where(*(table.c[name] == value for name, value in equal.items()))
        with self._reading() as connection:
            return connection.execute(query.limit(1)).first()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """One snapshot of what is committed."""
        with self._explained(), self._database.reading() as connection:
            yield connection

    @contextmanager
    def _explained(self) -> Iterator[None]:
        if self._closed:
            raise StoreUnavailable("The database is closed: the server is ending.")
        try:
            yield
        except sql.IntegrityError as error:
            raise StoreConflict(
                f"A row contradicts those in the database ({error.orig})."
            ) from error
        except sql.DBAPIError as error:
            if isinstance(error, sql.ProgrammingError | sql.DataError | sql.NotSupportedError):
                raise
            raise StoreUnavailable(self._database.explain(error.orig)) from error
        except sql.TimeoutError as error:
            raise StoreUnavailable("The database is busy with other readers.") from error


def _of_rank(table: Table, key: RankKey) -> tuple[ColumnElement[bool], ...]:
    return (
        table.c.task_id == key.task_id,
        table.c.attempt == key.attempt,
        table.c.rank == key.rank,
    )
