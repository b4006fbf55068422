"""Packed columns and roll-ups against models that think one point at a time."""

from array import array
from math import inf, isnan, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    unpack_curve,
    within,
)

VALUES = st.floats(width=64) | st.just(nan)
STEPS = st.integers(0, 2**53)
ROWS = st.lists(st.tuples(STEPS, st.floats(0, 1e10), VALUES), max_size=80)
POINTS = st.lists(
    st.tuples(
        STEPS,
        st.floats(0, 1e10),
        st.dictionaries(st.sampled_from("abc"), st.none() | st.floats(allow_nan=False)),
    ),
    max_size=20,
)


def columns_of(rows: list[tuple[int, float, float]]) -> Columns:
    return Columns(
        array("q", [step for step, _, _ in rows]),
        array("d", [time for _, time, _ in rows]),
        array("d", [value for _, _, value in rows]),
    )


def bits(curve: tuple[Any, ...]) -> list[bytes]:
    """For comparing NaN with NaN."""
    return [column.tobytes() for column in curve]


@given(points=POINTS)
def test_a_message_becomes_one_column_set_per_name(points: list[Any]) -> None:
    model: dict[str, list[tuple[int, float, float]]] = {}
    for step, time, metrics in points:
        for name, value in metrics.items():
            model.setdefault(name, []).append((step, time, nan if value is None else value))
    found = columns(points)
    assert {name: bits(found[name]) for name in found} == {
        name: bits(columns_of(rows)) for name, rows in model.items()
    }


@given(rows=ROWS, at=st.integers(0, 80), first=STEPS, step=STEPS)
def test_columns_are_cut_and_joined_like_lists(
    rows: list[tuple[int, float, float]], at: int, first: int, step: int
) -> None:
    whole = columns_of(rows)
    parts = [cut(whole, 0, at), cut(whole, at, len(rows))]
    assert bits(concat(parts)) == bits(whole)
    for end in (step, inf):
        kept = [row for row in rows if first <= row[0] < end]
        assert bits(within(whole, first, end)) == bits(columns_of(kept))


def test_numbers_are_chosen_among_nan() -> None:
    assert extreme(min, [nan, 2.0, -inf, nan]) == -inf
    assert extreme(max, [nan, 2.0]) == 2.0
    assert isnan(extreme(max, [nan, nan]))


def naive(curve: Curve, size: int) -> Curve:
    buckets = [range(at, min(at + size, len(curve.step))) for at in range(0, len(curve.step), size)]
    return Curve(
        array("q", [curve.step[bucket[-1]] for bucket in buckets]),
        array("d", [curve.time[bucket[-1]] for bucket in buckets]),
        array("d", [curve.value[bucket[-1]] for bucket in buckets]),
        array("d", [extreme(min, [curve.min[at] for at in bucket]) for bucket in buckets]),
        array("d", [extreme(max, [curve.max[at] for at in bucket]) for bucket in buckets]),
    )


@given(rows=ROWS, size=st.integers(1, 20), again=st.integers(1, 5))
def test_buckets_merge_as_a_naive_model_says(
    rows: list[tuple[int, float, float]], size: int, again: int
) -> None:
    curve = raw(columns_of(rows))
    once = merge(curve, size)
    assert [list(map(repr, column)) for column in once] == [
        list(map(repr, column)) for column in naive(curve, size)
    ]
    assert bits(merge(once, again)) == bits(merge(curve, size * again))


@given(rows=ROWS)
def test_small_columns_survive_packing(rows: list[tuple[int, float, float]]) -> None:
    points = columns_of(rows)
    assert bits(unpack_columns(pack(points), len(rows))) == bits(points)
    assert bits(unpack_curve(pack(raw(points)), len(rows))) == bits(raw(points))


@pytest.mark.parametrize("length", [340, 1365, BLOCK])
@given(random=st.randoms(use_true_random=False), digits=st.sampled_from([None, 2]))
def test_large_columns_survive_packing_and_regular_ones_shrink(
    length: int, random: Any, digits: int | None
) -> None:
    values = [random.gauss(0, 1) if digits is None else round(random.random(), digits)] * length
    points = columns_of([(step, step / 8, value) for step, value in enumerate(values)])
    data = pack(points)
    assert bits(unpack_columns(data, length)) == bits(points)
    if length == BLOCK:
        assert len(data) < 24 * length / 4


def test_noise_is_left_as_it_is() -> None:
    from random import Random

    noise = Random(1).randbytes(8 * BLOCK)
    points = Columns(array("q", noise), array("d", noise[::-1]), array("d", noise))
    assert bits(unpack_columns(pack(points), BLOCK)) == bits(points)


def test_levels_fit_into_a_block() -> None:
    for finer, coarser in zip(BUCKETS, (*BUCKETS[1:], BLOCK), strict=True):
        assert coarser % finer == 0
