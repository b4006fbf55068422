"""The writer's side of metric points: what arrives is appended, what is long enough is sealed.

A transaction adds one small row per series it touches (its open tail). When the tail has BLOCK
points, they are rewritten as one sealed block with its roll-ups. Memory holds only each series'
counters, never points.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from heapq import nlargest
from math import isnan, nan
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Dialect,
    Table,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.sql.dml import Insert

from aifarm.app.records import Points
from aifarm.core.task import RankKey
from aifarm.store.blocks import (
    BLOCK,
    BUCKETS,
    Columns,
    Curve,
    columns,
    concat,
    cut,
    extreme,
    merge,
    pack,
    raw,
    unpack_columns,
)
from aifarm.store.statements import Statement
from aifarm.store.tables import blocks, plain, series

SEALED_AT_ONCE = 8
"""Series whose tails one transaction seals, longest first, so that no batch waits for many."""

REMEMBERED = 10_000
"""Tasks whose counters stay in memory; those of others are read again when needed."""

SeriesKey = tuple[int, int, str]
"""(attempt, rank, name) within a task."""

Reference = tuple[str, SeriesKey]
"""A series, with its task's id."""


class Tail(NamedTuple):
    """One series: its row in `series`, and how many rows its open tail has in `blocks`."""

    id: int
    length: int
    sealed: int
    first_step: int
    last_step: int
    last: float
    min: float
    max: float
    rows: int

    def extended(self, points: Columns) -> "Tail":
        low, high = _extremes(points.value)
        return self._replace(
            length=self.length + len(points.step),
            last_step=points.step[-1],
            last=points.value[-1],
            min=extreme(min, (self.min, low)),
            max=extreme(max, (self.max, high)),
            rows=self.rows + 1,
        )


def _extremes(values: Sequence[float]) -> tuple[float, float]:
    if isnan(sum(values)):
        return extreme(min, values), extreme(max, values)
    return min(values), max(values)


Tails = dict[SeriesKey, Tail]


class MetricsWriter:
    """Owned by the writer, who calls `forget` whenever a transaction fails."""

    def __init__(self, dialect: Dialect, upsert: Callable[[Table], Insert]) -> None:
        self._tails: dict[str, Tails] = {}
        self._next_id: int | None = None
        self._insert_blocks = Statement(insert(blocks), blocks.columns, dialect)
        self._upsert_series = Statement(upsert(series), series.columns, dialect)
        tail = (
            blocks.c.series_id == bindparam("id"),
            blocks.c.level == literal_column("0"),
            blocks.c.start >= bindparam("sealed"),
        )
        by_tail = (blocks.c.series_id, blocks.c.start)
        self._delete_tail = Statement(delete(blocks).where(*tail), by_tail, dialect)
        read_tail = select(blocks.c.length, blocks.c.data).where(*tail).order_by(blocks.c.start)
        self._read_tail = Statement(read_tail, by_tail, dialect)
        rows = (
            select(func.count())
            .where(
                blocks.c.series_id == series.c.id,
                blocks.c.level == literal_column("0"),
                blocks.c.start >= series.c.sealed,
            )
            .scalar_subquery()
        )
        names = ("attempt", "rank", "name", *Tail._fields[:-1])
        read_series = select(*(series.c[name] for name in names), rows).where(
            series.c.task_id == bindparam("task_id")
        )
        self._read_series = Statement(read_series, (series.c.task_id,), dialect)

    def write(
        self,
        connection: Connection,
        arrived: Mapping[RankKey, Points],
        ended: Collection[str],
    ) -> None:
        """Stores points in the connection's transaction. `ended`: tasks that are now final, whose
        tails become one row each."""
        changed: dict[str, Tails] = {}
        new: dict[Reference, Columns] = {}
        for key, points in arrived.items():
            tails = changed[key.task_id] = self._known(connection, key.task_id)
            for name, part in columns(points).items():
                which = (key.attempt, key.rank, plain(name))
                known = tails.get(which) or self._opened(connection, part)
                tails[which] = known.extended(part)
                new[key.task_id, which] = part
        for task_id in ended:
            changed[task_id] = self._tails.pop(task_id, {})

        rows: list[list[Any]] = []
        emptied: list[list[Any]] = []
        due = _due(changed, ended)
        for task_id, which in due:
            tail = changed[task_id][which]
            emptied.append([tail.id, tail.sealed])
            parts = [
                unpack_columns(data, length)
                for length, data in self._read_tail.fetch(connection, tail.id, tail.sealed)
            ]
            if (task_id, which) in new:
                parts.append(new.pop((task_id, which)))
            changed[task_id][which], made = _rewritten(tail, concat(parts))
            rows += made
        for (task_id, which), part in new.items():
            tail = changed[task_id][which]
            rows.append(_row(tail.id, 0, tail.length - len(part.step), part, part))

        self._delete_tail.many(connection, emptied)
        self._insert_blocks.many(connection, rows)
        counters = [
            [tail.id, task_id, attempt, rank, name, *tail[1:-1]]
            for task_id, (attempt, rank, name), tail in (
                (task_id, which, changed[task_id][which]) for task_id, which in (*due, *new)
            )
        ]
        self._upsert_series.many(connection, counters)
        while len(self._tails) > REMEMBERED:
            del self._tails[next(iter(self._tails))]

    def _known(self, connection: Connection, task_id: str) -> Tails:
        """A task's counters, to be changed by the caller."""
        if task_id in self._tails:
            return self._tails[task_id]
        found = self._tails[task_id] = {}
        for attempt, rank, name, *counters in self._read_series.fetch(connection, task_id):
            found[attempt, rank, name] = Tail._make(nan if one is None else one for one in counters)
        return found

    def _opened(self, connection: Connection, points: Columns) -> Tail:
        if self._next_id is None:
            last = connection.execute(select(func.max(series.c.id))).scalar()
            self._next_id = (last or 0) + 1
        self._next_id += 1
        return Tail(self._next_id - 1, 0, 0, points.step[0], 0, nan, nan, nan, 0)

    def forget(self) -> None:
        """What is in memory may not be what is in the database: read it again."""
        self._tails.clear()
        self._next_id = None


def _due(changed: Mapping[str, Tails], ended: Collection[str]) -> list[Reference]:
    """Series whose tails are to be rewritten now."""
    full = [
        (tail.length - tail.sealed, (task_id, which))
        for task_id, tails in changed.items()
        if task_id not in ended
        for which, tail in tails.items()
        if tail.length - tail.sealed >= BLOCK
    ]
    last = [
        (task_id, which)
        for task_id in ended
        for which, tail in changed[task_id].items()
        if tail.rows > 1
    ]
    return [reference for _, reference in nlargest(SEALED_AT_ONCE, full)] + last


def _rewritten(tail: Tail, points: Columns) -> tuple[Tail, list[list[Any]]]:
    """All of a tail's points as sealed blocks and one row for the rest."""
    rows: list[list[Any]] = []
    whole = len(points.step) - len(points.step) % BLOCK
    for start in range(0, whole, BLOCK):
        part = cut(points, start, start + BLOCK)
        at = tail.sealed + start
        rows.append(_row(tail.id, 0, at, part, part))
        curve = raw(part)
        for level in range(1, len(BUCKETS)):
            curve = merge(curve, BUCKETS[level] // BUCKETS[level - 1])
            rows.append(_row(tail.id, level, at, part, curve))
    if whole < len(points.step):
        rest = cut(points, whole, len(points.step))
        rows.append(_row(tail.id, 0, tail.sealed + whole, rest, rest))
    return tail._replace(sealed=tail.sealed + whole, rows=int(whole < len(points.step))), rows


def _row(
    series_id: int, level: int, start: int, points: Columns, data: Columns | Curve
) -> list[Any]:
    """A row of `blocks` that stands for `points`."""
    steps = points.step
    return [series_id, level, start, len(steps), min(steps), max(steps), pack(data)]
