"""Metrics as CSV: every point asked for, however the history lies in the store."""

import csv
import io
from math import nan

from hypothesis import given
from hypothesis import strategies as st

from aifarm.app.records import MetricPart
from aifarm.web.metrics import _csv

parts = st.lists(
    st.builds(
        lambda name, rows: MetricPart(
            name, [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]
        ),
        st.text(st.characters(exclude_categories=["Cs", "Cc"])),
        st.lists(
            st.tuples(st.integers(0, 9), st.floats(0, 9), st.just(nan) | st.floats(allow_nan=False))
        ),
    ),
    max_size=5,
)


@given(parts, st.integers(0, 9), st.integers(0, 9))
def test_every_point_in_range_is_a_row_and_no_piece_is_empty(
    history: list[MetricPart], first: int, last: int
) -> None:
    pieces = list(_csv(iter(history), first, last))
    assert all(pieces)
    header, *rows = csv.reader(io.StringIO(b"".join(pieces).decode(), newline=""))
    assert header == ["name", "step", "time", "value"]
    assert rows == [
        [part.name, str(step), str(time), "" if value != value else str(value)]
        for part in history
        for step, time, value in zip(part.step, part.time, part.value, strict=True)
        if first <= step <= last
    ]
