"""Metric points through the store: nothing lost, one line per metric, as coarse as asked for."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf, isnan, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import event, text

from aifarm.app.records import MetricPart, Points, Series, TaskRecord, TaskSpec
from aifarm.core.task import RankKey, State, Task
from aifarm.store import SqlStore, open_store
from aifarm.store.blocks import BLOCK, BUCKETS
from aifarm.store.metrics import SEALED_AT_ONCE
from databases import KINDS, empty

Row = tuple[int, float, float]
"""(step, time, value)"""


class Failed(Exception):
    pass


@dataclass
class Farm:
    """A store beside a model of what it should hold."""

    url: str
    store: SqlStore
    tasks: int = 0
    clock: int = 0
    task_id: str = ""
    model: dict[tuple[int, str], list[Row]] = field(default_factory=dict)

    def new_task(self) -> None:
        self.tasks += 1
        self.task_id, self.model = f"task-{self.tasks}", {}

    def reopen(self) -> None:
        self.store.close()
        self.store = open_store(self.url)

    def points(self, names: str, count: int, step: int) -> Points:
        """`count` points from `step` on, each with all `names`; those of "ragged" are irregular."""
        begin, self.clock = self.clock, self.clock + count
        clock = range(begin, self.clock)
        numbers = {at: at * 37 % 101 / 4 for at in clock}
        if names == "ragged":
            metrics = [
                {"odd": None if at % 7 == 6 else numbers[at]} | ({} if at % 3 else {"rare": 1.0})
                for at in clock
            ]
        else:
            metrics = [dict.fromkeys(names.split(), numbers[at]) for at in clock]
        return [(step + at - begin, float(at), metrics[at - begin]) for at in clock]

    def add(
        self, attempt: int, points: Points, *, rank: int = 0, fail: bool = False, lost: bool = False
    ) -> None:
        """`fail`: the block raises. `lost`: it is known that the commit will fail."""
        with suppress(Failed), self.store.transaction() as tx:
            middle = len(points) // 2
            for part in (points[:middle], points[middle:]):
                tx.add_points(RankKey(self.task_id, attempt, rank), part)
            if fail:
                raise Failed
        if rank == 0 and not (fail or lost):
            for step, time, metrics in points:
                for name, value in metrics.items():
                    row = (step, time, nan if value is None else value)
                    self.model.setdefault((attempt, name), []).append(row)

    def end(self) -> None:
        record = TaskRecord(
            Task(self.task_id, "ann", 1.0, state=State.COMPLETED), TaskSpec("training", "net", {})
        )
        with self.store.transaction() as tx:
            known = self.store.task(self.task_id)
            tx.put_task(replace(record, progress=100.0), known)

    def line(self, name: str) -> list[Row]:
        """All attempts as one line."""
        attempts = sorted(attempt for attempt, own in self.model if own == name)
        line: list[Row] = []
        for attempt in attempts:
            first = self.model[attempt, name][0][0]
            line = [row for row in line if row[0] < first] + self.model[attempt, name]
        return line

    def names(self) -> list[str]:
        return sorted({name for _, name in self.model})

    def rows(self, level: int) -> list[int]:
        """Lengths of the task's rows of `level`, in order."""
        query = """SELECT blocks.length FROM blocks JOIN series ON series.id = series_id
                   WHERE task_id = :task AND level = :level ORDER BY series_id, start"""
        with self.store._database.reading() as connection:
            found = connection.execute(text(query), {"task": self.task_id, "level": level})
            return list(found.scalars())


@pytest.fixture(scope="module", params=KINDS)
def farm(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Farm]:
    url = empty(request.param, tmp_path_factory.mktemp("metrics"))
    farm = Farm(url, open_store(url))
    yield farm
    farm.store.close()


@pytest.fixture(autouse=True)
def _task(farm: Farm) -> None:
    farm.new_task()


def same(found: list[float], expected: list[float]) -> bool:
    return list(map(repr, found)) == list(map(repr, expected))


def check_whole(series: Series, line: list[Row]) -> None:
    assert series.total == len(line)
    assert series.step == [step for step, _, _ in line]
    assert series.time == [time for _, time, _ in line]
    assert same(series.value, [value for _, _, value in line])
    assert same(series.min, series.value)
    assert same(series.max, series.value)


def check_coarse(series: Series, line: list[Row], points: int) -> None:
    """Buckets are consecutive parts of the line, cover all of it, and are as many as asked for."""
    assert series.total == len(line)
    assert min(len(line), points) <= len(series.step) <= max(1, 2 * points)
    where = {time: at for at, (_, time, _) in enumerate(line)}
    begin = 0
    for at, time in enumerate(series.time):
        stop = where[time] + 1
        numbers = [value for _, _, value in line[begin:stop] if not isnan(value)]
        assert series.step[at] == line[stop - 1][0]
        assert same(
            [series.value[at], series.min[at], series.max[at]],
            [line[stop - 1][2], min(numbers, default=nan), max(numbers, default=nan)],
        )
        begin = stop
    assert begin == len(line)


def check_parts(parts: Iterable[MetricPart], farm: Farm) -> None:
    """All parts together are the lines."""
    found: dict[str, list[Row]] = {}
    for part in parts:
        found.setdefault(part.name, []).extend(zip(*part[1:], strict=True))
    assert list(found) == farm.names()
    for name, rows in found.items():
        assert list(map(repr, rows)) == list(map(repr, farm.line(name)))


def check(farm: Farm) -> None:
    names = farm.names()
    check_parts(farm.store.points(farm.task_id), farm)
    whole = farm.store.series(farm.task_id, points=None)
    assert [series.name for series in whole] == names
    for series in whole:
        check_whole(series, farm.line(series.name))
    for points in (1, 2, 10, 100, 900, 6000):
        for series in farm.store.series(farm.task_id, points=points):
            check_coarse(series, farm.line(series.name), points)
    for first, last in ((0, 5), (700, 9000), (4000, None)):
        end = inf if last is None else last + 1
        for points in (None, 1, 100, 6000):
            asked = farm.store.series(farm.task_id, points=points, first=first, last=last)
            for series in asked:
                line = [row for row in farm.line(series.name) if first <= row[0] < end]
                if points is None:
                    check_whole(series, line)
                else:
                    check_coarse(series, line, points)
    summaries = farm.store.summaries([farm.task_id]).get(farm.task_id, [])
    assert [summary.name for summary in summaries] == names
    for summary in summaries:
        rows = [
            row for (_, name), rows in farm.model.items() if name == summary.name for row in rows
        ]
        newest = farm.model[max(a for a, name in farm.model if name == summary.name), summary.name]
        numbers = [value for _, _, value in rows if not isnan(value)]
        assert (summary.count, summary.last_step) == (len(rows), newest[-1][0])
        assert same(
            [summary.last, summary.min, summary.max],
            [newest[-1][2], min(numbers, default=nan), max(numbers, default=nan)],
        )


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["points", "points", "points", "fail", "restart", "resume", "end", "other"]
        ),
        st.sampled_from(["loss", "loss acc", "ragged"]),
        st.sampled_from([1, 3, 40, 700, 3000, 5000, 9000]),
    ),
    min_size=1,
    max_size=8,
)


@given(steps=STEPS)
@settings(max_examples=25)
def test_every_history_of_points_reads_as_the_model_says(
    farm: Farm, steps: list[tuple[str, str, int]]
) -> None:
    farm.new_task()
    attempt, step = 1, 0
    for what, names, count in steps:
        if what in ("points", "fail"):
            farm.add(attempt, farm.points(names, count, step), fail=what == "fail")
            step += count
        elif what == "restart":
            farm.reopen()
        elif what == "resume":
            attempt, step = attempt + 1, max(0, step - count)
        elif what == "other":
            farm.add(attempt, farm.points(names, count, step), rank=1)
        else:
            farm.end()
    check(farm)


def test_parts_of_a_history_that_grows_and_is_sealed_meanwhile_fit_together(farm: Farm) -> None:
    for at in range(0, BLOCK - 100, 50):
        farm.add(1, farm.points("loss", 50, at))
    parts = farm.store.points(farm.task_id)
    read = [next(parts), next(parts)]
    for at in range(BLOCK - 100, 2 * BLOCK, 50):
        farm.add(1, farm.points("loss", 50, at))
    assert farm.rows(0)[0] == BLOCK
    check_parts([*read, *parts], farm)


def test_a_long_tail_becomes_sealed_blocks_with_roll_ups(farm: Farm) -> None:
    for at in range(0, 2 * BLOCK + 500, 500):
        farm.add(1, farm.points("loss", 500, at))
    assert farm.rows(1) == farm.rows(2) == [BLOCK, BLOCK]
    lengths = farm.rows(0)
    assert lengths[:2] == [BLOCK, BLOCK]
    assert sum(lengths) == len(farm.line("loss"))
    check(farm)


def test_one_message_may_hold_several_blocks(farm: Farm) -> None:
    farm.add(1, farm.points("loss", 3 * BLOCK + 1, 0))
    assert farm.rows(0) == [BLOCK, BLOCK, BLOCK, 1]
    check(farm)


def test_a_transaction_seals_few_series_and_the_next_ones_the_rest(farm: Farm) -> None:
    names = " ".join(f"m{at:02}" for at in range(2 * SEALED_AT_ONCE + 1))
    farm.add(1, farm.points(names, BLOCK, 0))
    assert len(farm.rows(1)) == SEALED_AT_ONCE
    for at in range(2):
        farm.add(1, farm.points(names, 1, BLOCK + at))
    assert len(farm.rows(1)) == 2 * SEALED_AT_ONCE + 1
    check(farm)


def test_the_end_of_a_task_leaves_one_row_per_tail(farm: Farm) -> None:
    for at in range(10):
        farm.add(1, farm.points("loss acc", 5, 5 * at))
    assert farm.rows(0) == [5] * 20
    farm.end()
    assert farm.task_id not in farm.store._writer._metrics._tails
    assert farm.rows(0) == [50, 50]
    farm.add(1, farm.points("loss acc", 5, 50))
    check(farm)


def test_a_failed_commit_leaves_memory_as_it_was(farm: Farm) -> None:
    farm.add(1, farm.points("loss", BLOCK - 1, 0))

    def fail(_: object) -> None:
        raise Failed

    engine = farm.store._database._writer
    event.listen(engine, "commit", fail)
    for _ in range(2):
        farm.add(1, farm.points("loss", 10, BLOCK - 1), lost=True)
    event.remove(engine, "commit", fail)
    assert farm.rows(1) == []
    farm.add(1, farm.points("loss", 10, BLOCK - 1))
    assert farm.rows(1) == [BLOCK]
    check(farm)


def test_points_that_arrive_with_the_end_belong_to_it(farm: Farm) -> None:
    farm.add(1, farm.points("loss", 5, 0))
    late = farm.points("loss", 5, 5)
    with farm.store.transaction() as tx:
        record = TaskRecord(
            Task(farm.task_id, "ann", 1.0, state=State.FAILED), TaskSpec("training", "net", {})
        )
        tx.put_task(record, None)
        tx.add_points(RankKey(farm.task_id, 1, 0), late)
    assert farm.rows(0) == [10]
    assert farm.store.series(farm.task_id)[0].step == list(range(10))


@pytest.mark.parametrize("back", [0, 1, 100, BLOCK - 1, BLOCK, 2 * BLOCK])
def test_an_attempt_that_resumed_takes_over_where_its_steps_begin(farm: Farm, back: int) -> None:
    first = 2 * BLOCK + 300
    farm.add(1, farm.points("loss", first, 0))
    farm.add(2, farm.points("loss", 700, first - back))
    check(farm)
    farm.add(3, farm.points("loss", 300, first - back - 20))
    [series] = farm.store.series(farm.task_id, points=None)
    assert series.step == list(range(first - back + 280))
    check(farm)


def test_metrics_with_steps_of_their_own_do_not_cut_each_other(farm: Farm) -> None:
    """Validation counted in epochs beside a loss counted in steps."""
    farm.add(1, farm.points("loss", 1000, 0))
    farm.add(1, farm.points("val_loss", 10, 0))
    farm.add(2, farm.points("val_loss", 5, 8))
    farm.add(2, farm.points("loss", 300, 800))
    assert [series.total for series in farm.store.series(farm.task_id)] == [1100, 13]
    check(farm)


def test_only_the_named_metrics_are_read(farm: Farm) -> None:
    farm.add(1, farm.points("loss acc lr", 5, 0))
    found = farm.store.series(farm.task_id, names=["lr", "loss", "nothing"])
    assert [series.name for series in found] == ["loss", "lr"]


def test_fewer_points_than_asked_for_are_all_given(farm: Farm) -> None:
    farm.add(1, farm.points("loss", BUCKETS[-1] * 5, 0))
    [series] = farm.store.series(farm.task_id, points=BUCKETS[-1] * 5)
    check_whole(series, farm.line("loss"))
