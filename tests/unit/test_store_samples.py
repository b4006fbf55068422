"""What clients used over time: kept in few rows, thinned when it is old, and never made up."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from aifarm.app.records import ClientSample, EventRecord, GpuSample
from aifarm.app.samples import history, means, sample_of
from aifarm.store import StoreConflict, open_store
from aifarm.store.samples import BLOCK, COARSE, FULL, KEPT, TOGETHER
from aifarm.store.store import SqlStore
from aifarm.store.tables import samples
from aifarm.wire import agent as wire
from databases import KINDS, empty

START = 1_700_000_000.0
EVERY = 30.0


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return empty(request.param, tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    opened = open_store(url)
    yield opened
    opened.close()


def sample(number: int) -> ClientSample:
    return ClientSample(
        START + EVERY * number, float(number % 100), None, (GpuSample(0, 100.0 + number, None, 40),)
    )


def add(store: SqlStore, *taken: ClientSample, client_id: str = "ws1") -> None:
    with store.transaction() as tx:
        for one in taken:
            tx.add_sample(client_id, one)


def add_with_conflict(store: SqlStore, one: ClientSample) -> None:
    for _ in range(2):
        with store.transaction() as tx:
            tx.add_event(EventRecord(1, START, "submitted", "…"))
            tx.add_sample("ws2", one)


def rows(store: SqlStore) -> int:
    with store._database.reading() as connection:
        counted: int = connection.execute(select(func.count()).select_from(samples)).scalar_one()
    return counted


def test_samples_share_rows_and_are_read_as_they_were(store: SqlStore) -> None:
    taken = [sample(number) for number in range(2 * BLOCK + 5)]
    for one in taken:
        add(store, one)
    assert rows(store) == 3
    assert store.samples("ws1", START, START + 1e6) == taken
    assert store.samples("ws1", taken[70].at, taken[90].at) == taken[70:90]
    assert store.samples("ws2", START, START + 1e6) == []


def test_an_open_row_goes_on_after_a_restart_and_after_a_failed_commit(url: str) -> None:
    store = open_store(url)
    add(store, sample(0))
    store.close()
    store = open_store(url)
    add(store, sample(1))
    with pytest.raises(StoreConflict):
        add_with_conflict(store, sample(2))
    add(store, sample(3))
    assert store.samples("ws1", START, START + 1e6) == [sample(0), sample(1), sample(3)]
    assert rows(store) == 2
    assert store.samples("ws2", START, START + 1e6) == [sample(2)]
    store.close()


def test_old_samples_become_means_and_ancient_ones_go(store: SqlStore) -> None:
    count = TOGETHER * BLOCK
    for first in range(0, count, BLOCK):
        add(store, *(sample(number) for number in range(first, first + BLOCK)))
    end = START + EVERY * count
    add(store, ClientSample(end + FULL, 1.0))
    thinned = store.samples("ws1", 0.0, end + 1)
    assert rows(store) == 2
    assert thinned == means([sample(number) for number in range(count)], COARSE)
    add(store, ClientSample(end + FULL + KEPT + COARSE * BLOCK, 2.0))
    assert [one.cpu for one in store.samples("ws1", 0.0, 1e12)] == [2.0]


def test_a_client_that_is_forgotten_leaves_no_samples(store: SqlStore) -> None:
    add(store, sample(0))
    add(store, sample(0), client_id="ws2")
    with store.transaction() as tx:
        tx.drop_client("ws1")
    assert store.samples("ws1", 0.0, 1e12) == []
    add(store, sample(1))
    assert store.samples("ws1", 0.0, 1e12) == [sample(1)]
    assert store.samples("ws2", 0.0, 1e12) == [sample(0)]


def test_what_a_heartbeat_does_not_say_is_unknown() -> None:
    assert sample_of(1.0, wire.SystemInfo()) == ClientSample(1.0)
    told = wire.Resources(gpu=(wire.Gpu(0, "GPU", wire.Memory()),))
    assert sample_of(1.0, wire.SystemInfo(cpu_usage=0.0, resources=told)) == ClientSample(
        1.0, 0.0, None, (GpuSample(0),)
    )


numbers = st.none() | st.floats(0, 100)
taken_samples = st.lists(
    st.builds(
        ClientSample,
        st.floats(0, 1000),
        numbers,
        numbers,
        st.lists(st.integers(0, 2), unique=True).flatmap(
            lambda ids: st.tuples(*(st.builds(GpuSample, st.just(n), numbers) for n in ids))
        ),
    )
).map(lambda found: sorted(found, key=lambda one: one.at))


@given(taken_samples, st.integers(1, 20))
def test_a_history_has_columns_of_one_length_and_makes_nothing_up(
    taken: list[ClientSample], points: int
) -> None:
    shown = history("ws1", taken, 1000.0, points)
    length = len(shown.time)
    assert length <= points
    assert shown.time == sorted(set(shown.time))
    columns = [shown.cpu, shown.ram]
    for gpu in shown.gpus:
        columns += [gpu.memory_used, gpu.utilization, gpu.temperature]
    assert {len(column) for column in columns} == {length}
    known = [one.cpu for one in taken if one.cpu is not None]
    for cpu in shown.cpu:
        assert cpu is None or min(known) - 0.1 <= cpu <= max(known) + 0.1
    if len(known) == len(taken):
        assert None not in shown.cpu
