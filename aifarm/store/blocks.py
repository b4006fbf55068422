"""Metric points as packed columns, and their roll-ups. Pure.

A curve is five columns of equal length: step, time, value, min, max. A raw point is a bucket of
one, whose min and max are its value; a roll-up merges neighbours, keeps the last's step, time and
value, and the extremes of all. NaN stands for "no number" and counts in no extreme.
"""

import zlib
from array import array
from collections.abc import Callable, Iterable, Sequence
from math import isnan, nan
from operator import itemgetter
from typing import Any, NamedTuple

from aifarm.app.records import Points

BLOCK = 4096
"""Points in a sealed block."""

BUCKETS = (1, 16, 256)
"""Points per bucket, by level; each divides the next and BLOCK."""

WORTH = 8192
"""Bytes from which compression is tried."""


class Columns(NamedTuple):
    """Raw points: int64 steps, float64 times and values."""

    step: "array[Any]"
    time: "array[Any]"
    value: "array[Any]"


class Curve(NamedTuple):
    """Buckets of one or more points."""

    step: "array[Any]"
    time: "array[Any]"
    value: "array[Any]"
    min: "array[Any]"
    max: "array[Any]"


# ---------------------------------------------------------------- columns of points


def columns(points: Points) -> dict[str, Columns]:
    """One message's points by metric name, in order; None becomes NaN."""
    if not points:
        return {}
    steps, times, metrics = zip(*points, strict=True)
    names = metrics[0]
    # Equal lengths and every name present everywhere: all points carry the same names.
    if sum(map(len, metrics)) == len(names) * len(metrics):
        try:
            found = {name: list(map(itemgetter(name), metrics)) for name in names}
        except KeyError:
            return _ragged(points)
        step, time = array("q", steps), array("d", times)
        return {name: Columns(step, time, _floats(values)) for name, values in found.items()}
    return _ragged(points)


def _ragged(points: Points) -> dict[str, Columns]:
    found: dict[str, tuple[list[int], list[float], list[float | None]]] = {}
    for step, time, metrics in points:
        for name, value in metrics.items():
            steps, times, values = found.setdefault(name, ([], [], []))
            steps.append(step)
            times.append(time)
            values.append(value)
    return {
        name: Columns(array("q", steps), array("d", times), _floats(values))
        for name, (steps, times, values) in found.items()
    }


def _floats(values: Iterable[float | None]) -> "array[float]":
    try:
        return array("d", values)  # type: ignore[arg-type]
    except TypeError:
        return array("d", (nan if value is None else value for value in values))


def concat(parts: Sequence[Columns]) -> Columns:
    whole = Columns(array("q"), array("d"), array("d"))
    for part in parts:
        for column, more in zip(whole, part, strict=True):
            column.extend(more)
    return whole


def join(parts: Sequence[Curve]) -> Curve:
    """As `concat`, of buckets."""
    whole = Curve(array("q"), array("d"), array("d"), array("d"), array("d"))
    for part in parts:
        for column, more in zip(whole, part, strict=True):
            column.extend(more)
    return whole


def cut(points: Columns, start: int, stop: int) -> Columns:
    return Columns(*(column[start:stop] for column in points))


def within(points: Columns, first: float, end: float) -> Columns:
    """The points whose step is at least `first` and smaller than `end`."""
    keep = [at for at, own in enumerate(points.step) if first <= own < end]
    return Columns(*(array(c.typecode, (c[at] for at in keep)) for c in points))


# ---------------------------------------------------------------- roll-ups


def raw(points: Columns) -> Curve:
    return Curve(*points, points.value, points.value)


def merge(curve: Curve, size: int) -> Curve:
    """Each `size` neighbouring buckets as one; the last may stand for fewer."""
    if size == 1:
        return curve
    return Curve(
        _lasts(curve.step, size),
        _lasts(curve.time, size),
        _lasts(curve.value, size),
        _extremes(min, curve.min, size),
        _extremes(max, curve.max, size),
    )


def _lasts(column: "array[Any]", size: int) -> "array[Any]":
    lasts = column[size - 1 :: size]
    if len(column) % size:
        lasts.append(column[-1])
    return lasts


def _extremes(pick: Callable[..., float], column: "array[float]", size: int) -> "array[float]":
    if isnan(sum(column)):
        buckets = (column[at : at + size] for at in range(0, len(column), size))
        return array("d", (extreme(pick, bucket) for bucket in buckets))
    whole = len(column) - len(column) % size
    found = array("d", map(pick, *(column[at:whole:size] for at in range(size))))
    if whole < len(column):
        found.append(pick(column[whole:]))
    return found


def extreme(pick: Callable[..., float], values: Iterable[float]) -> float:
    """`pick` (min or max) of the numbers in `values`; NaN if there is none."""
    return pick((value for value in values if not isnan(value)), default=nan)


# ---------------------------------------------------------------- bytes


def pack(curve: Columns | Curve) -> bytes:
    """The columns one after the other as 8-byte items, compressed where that pays."""
    data = b"".join(column.tobytes() for column in curve)
    if len(data) < WORTH:
        return data
    # Bytes of equal weight side by side: exponents and high digits hardly change.
    squeezed = zlib.compress(b"".join(data[at::8] for at in range(8)), 1)
    return squeezed if len(squeezed) < len(data) else data


def unpack_columns(data: bytes, count: int) -> Columns:
    """Inverse of `pack` for `count` raw points."""
    return Columns(*_arrays(data, count, "qdd"))


def unpack_curve(data: bytes, count: int) -> Curve:
    """Inverse of `pack` for `count` buckets."""
    return Curve(*_arrays(data, count, "qdddd"))


def _arrays(data: bytes, count: int, codes: str) -> "list[array[Any]]":
    size = 8 * count
    if len(data) < size * len(codes):
        planes = zlib.decompress(data)
        whole, width = bytearray(len(planes)), len(planes) // 8
        for at in range(8):
            whole[at::8] = planes[at * width : (at + 1) * width]
        data = bytes(whole)
    return [array(code, data[at * size : (at + 1) * size]) for at, code in enumerate(codes)]
