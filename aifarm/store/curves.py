"""The readers' side of metric points: one line per metric, as fine as asked for.

A task's later attempt resumed from a checkpoint: where its steps begin, the earlier attempts'
points end, so that the curve is one line.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from math import inf, nan
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, func, select

from aifarm.app.records import Series, SummaryRecord
from aifarm.store.blocks import (
    BUCKETS,
    Columns,
    Curve,
    concat,
    cut,
    extreme,
    join,
    merge,
    raw,
    unpack_columns,
    unpack_curve,
    within,
)
from aifarm.store.tables import blocks, series

ROWS = 8
"""Rows that are read at once of a whole history: a row holds at most BLOCK points."""


def summaries(
    connection: Connection, task_ids: Sequence[str], names: Sequence[str]
) -> dict[str, list[SummaryRecord]]:
    """Of each task that has any, by name; the last is the newest attempt's."""
    found: dict[str, list[SummaryRecord]] = {}
    all_rows = _series_of(connection, task_ids, names)
    for (task_id, name), rows in groupby(all_rows, lambda row: (row.task_id, row.name)):
        attempts = list(rows)
        found.setdefault(task_id, []).append(
            SummaryRecord(
                name,
                count=sum(row.length for row in attempts),
                last=_number(attempts[-1].last),
                min=extreme(min, (_number(row.min) for row in attempts)),
                max=extreme(max, (_number(row.max) for row in attempts)),
                last_step=attempts[-1].last_step,
            )
        )
    return found


def curves(
    connection: Connection,
    task_id: str,
    names: Sequence[str],
    points: int | None,
    first: int = 0,
    end: float = inf,
) -> list[Series]:
    """By name, the steps from `first` up to, not including, `end`. At least `points` of each where
    there are as many, and fewer than twice that."""
    rows = _series_of(connection, [task_id], names)
    pieces = _pieces(connection, rows, first, end)
    return [
        _curve(connection, name, [piece for row in attempts for piece in pieces[row.id]], points)
        for name, attempts in groupby(rows, lambda row: row.name)
    ]


class Line(NamedTuple):
    """One attempt's part of a metric: its points up to, not including, the step `end`."""

    name: str
    series_id: int
    end: float


class Part(NamedTuple):
    """Stored points: how many were read, and those that count."""

    length: int
    points: Columns


def lines(connection: Connection, task_id: str, names: Sequence[str]) -> list[Line]:
    """By name, the first attempt first."""
    rows = _series_of(connection, [task_id], names)
    ends = _ends(rows)
    return [Line(row.name, row.id, ends[row.id]) for row in rows]


def part(connection: Connection, line: Line, at: int) -> Part:
    """Points from the `at`-th on, as many as a few rows hold; none at the end."""
    own = (blocks.c.series_id == line.series_id, blocks.c.level == 0)
    first = select(func.max(blocks.c.start)).where(*own, blocks.c.start <= at)
    rows = (
        select(blocks.c.start, blocks.c.length, blocks.c.data)
        .where(*own, blocks.c.start >= first.scalar_subquery())
        .order_by(blocks.c.start)
        .limit(ROWS)
    )
    found = [
        cut(unpack_columns(data, length), max(0, at - start), length)
        for start, length, data in connection.execute(rows)
    ]
    whole = concat(found)
    kept = whole if line.end == inf else within(whole, 0, line.end)
    return Part(len(whole.step), kept)


def _series_of(
    connection: Connection, task_ids: Sequence[str], names: Sequence[str]
) -> Sequence[Row[Any]]:
    query = select(series).where(series.c.task_id.in_(task_ids), series.c.rank == 0)
    if names:
        query = query.where(series.c.name.in_(names))
    return connection.execute(
        query.order_by(series.c.task_id, series.c.name, series.c.attempt)
    ).all()


class _Piece(NamedTuple):
    """Consecutive points that lie in one row. `points`: read already, because they were cut."""

    series_id: int
    start: int
    length: int
    sealed: bool
    points: Columns | None = None


def _pieces(
    connection: Connection, rows: Sequence[Row[Any]], first: int, end: float
) -> dict[int, list[_Piece]]:
    """What each series contributes to its line, in order, of the steps from `first` to `end`."""
    fields = (blocks.c.series_id, blocks.c.start, blocks.c.length, blocks.c.low_step)
    query = (
        select(*fields, blocks.c.high_step)
        .where(
            blocks.c.series_id.in_([row.id for row in rows]),
            blocks.c.level == 0,
            blocks.c.high_step >= first,
        )
        .order_by(blocks.c.series_id, blocks.c.start)
    )
    ends = _ends(rows)
    sealed = {row.id: row.sealed for row in rows}
    pieces: defaultdict[int, list[_Piece]] = defaultdict(list)
    for series_id, start, length, low, high in connection.execute(query):
        until = min(end, ends[series_id])
        if low >= until:
            continue
        piece = _Piece(series_id, start, length, start < sealed[series_id])
        if low < first or high >= until:
            kept = within(_points(connection, [piece])[0], first, until)
            piece = piece._replace(length=len(kept.step), points=kept)
        pieces[series_id].append(piece)
    return pieces


def _ends(rows: Iterable[Row[Any]]) -> dict[int, float]:
    """The step at which each series ends: where a newer attempt of the same name begins."""
    ends: dict[int, float] = {}
    for _, attempts in groupby(rows, lambda row: row.name):
        end = inf
        for row in reversed(list(attempts)):
            ends[row.id] = end
            end = min(end, row.first_step)
    return ends


def _curve(
    connection: Connection, name: str, pieces: Sequence[_Piece], points: int | None
) -> Series:
    total = sum(piece.length for piece in pieces)
    wanted = max(1, total if points is None else points)
    level = max(level for level, size in enumerate(BUCKETS) if level == 0 or total >= size * wanted)
    curve = join(list(_parts(connection, pieces, level)))
    curve = merge(curve, max(1, len(curve.step) // wanted))
    return Series(
        name,
        step=curve.step.tolist(),
        time=curve.time.tolist(),
        value=curve.value.tolist(),
        min=curve.min.tolist(),
        max=curve.max.tolist(),
        total=total,
    )


def _parts(connection: Connection, pieces: Sequence[_Piece], level: int) -> Iterator[Curve]:
    """The pieces in order as buckets of `level`, from roll-ups where they are stored."""
    for rolled, run in groupby(pieces, lambda piece: piece.sealed and piece.points is None):
        some = list(run)
        if rolled and level > 0:
            yield from _roll_ups(connection, some, level)
        else:
            yield merge(raw(concat(_points(connection, some))), BUCKETS[level])


def _points(connection: Connection, pieces: Sequence[_Piece]) -> list[Columns]:
    stored = _data(connection, [piece for piece in pieces if piece.points is None], 0)
    return [
        piece.points or unpack_columns(stored[piece.series_id, piece.start], piece.length)
        for piece in pieces
    ]


def _roll_ups(connection: Connection, pieces: Sequence[_Piece], level: int) -> Iterator[Curve]:
    stored = _data(connection, pieces, level)
    for piece in pieces:
        count = -(-piece.length // BUCKETS[level])
        yield unpack_curve(stored[piece.series_id, piece.start], count)


def _data(
    connection: Connection, pieces: Sequence[_Piece], level: int
) -> dict[tuple[int, int], bytes]:
    """Packed data of pieces at `level`, by series and start."""
    found = {}
    for series_id, run in groupby(pieces, lambda piece: piece.series_id):
        starts = [piece.start for piece in run]
        query = select(blocks.c.start, blocks.c.data).where(
            blocks.c.series_id == series_id,
            blocks.c.level == level,
            blocks.c.start.between(starts[0], starts[-1]),
        )
        found.update({(series_id, start): data for start, data in connection.execute(query)})
    return found


def _number(stored: float | None) -> float:
    """NaN is kept as NULL."""
    return nan if stored is None else stored
