"""The contract of `ports.Store`, for every database that keeps it."""

import itertools
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aifarm.app.ports import Store, Write
from aifarm.app.records import (
    AttemptRecord,
    CheckpointRecord,
    ClientRecord,
    DataRecord,
    EventRecord,
    LoginRecord,
    LogLines,
    OutputRecord,
    PackageRecord,
    TaskRecord,
    TaskSpec,
    TokenRecord,
    UploadRecord,
)
from aifarm.app.search import Search
from aifarm.core.client import Hold
from aifarm.core.task import FINAL, RankKey, State, Task
from aifarm.store import StoreConflict, StoreUnavailable, open_store
from databases import KINDS, empty


@pytest.fixture(scope="module", params=KINDS)
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """One store for tests whose ids are their own."""
    store = open_store(empty(request.param, tmp_path_factory.mktemp("shared")))
    yield store
    store.close()


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = open_store(empty(request.param, tmp_path))
    yield store
    store.close()


# ---------------------------------------------------------------- records of any content

few = settings(max_examples=40)

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
INTEGERS = st.integers(0, 2**31 - 2)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a record's field, by its type."""
    simple = {Any: JSON_VALUES, str: TEXT, int: INTEGERS, float: FLOATS, bool: st.booleans()}
    if hint in simple:
        return simple[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is types.NoneType:
        return st.none()
    if origin in (Union, types.UnionType):
        return st.one_of(*map(of, arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is Annotated:
        return of(arguments[0])  # limits of the wire are not the store's
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(of(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*map(of, arguments))
    if origin is list:
        return st.lists(of(arguments[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(of(arguments[0]), of(arguments[1]), max_size=3)
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    return st.builds(hint, **{name: of(kind) for name, kind in fields(hint).items()})


def fields(shape: type) -> dict[str, Any]:
    return get_type_hints(shape, include_extras=True)


numbers = itertools.count(1)


def fresh_id() -> str:
    return f"id-{next(numbers):08d}"


def spec(**more: Any) -> TaskSpec:
    return TaskSpec(**{"type": "training", "name": "net", "config": {"epochs": 3}, **more})


def new_task(task_id: str | None = None, **more: Any) -> TaskRecord:
    fields = {"id": task_id or fresh_id(), "submitter": "ann", "created_at": 1000.0, **more}
    return TaskRecord(Task(**fields), spec())


def written(store: Store, *steps: Callable[[Write], None]) -> None:
    with store.transaction() as tx:
        for step in steps:
            step(tx)


def put_parent(tx: Write, task_id: str) -> None:
    tx.put_task(new_task(task_id), None)


# ---------------------------------------------------------------- round trips


@given(record=of(TaskRecord))
@few
def test_a_task_comes_back_as_it_was_put(shared: Store, record: TaskRecord) -> None:
    record = replace(record, task=replace(record.task, id=fresh_id()))
    with shared.transaction() as tx:
        tx.put_task(record, None)
    assert shared.task(record.task.id) == (None if record.deleted else record)


@given(before=of(TaskRecord), after=of(TaskRecord))
@few
def test_a_changed_task_comes_back_as_it_was_put_last(
    shared: Store, before: TaskRecord, after: TaskRecord
) -> None:
    task_id = fresh_id()
    before = replace(before, task=replace(before.task, id=task_id), deleted_at=None)
    after = replace(after, task=replace(after.task, id=task_id), deleted_at=None)
    written(shared, lambda tx: tx.put_task(before, None))
    written(shared, lambda tx: tx.put_task(after, before))
    assert shared.task(task_id) == after


@given(record=of(ClientRecord))
@few
def test_a_client_comes_back(shared: Store, record: ClientRecord) -> None:
    record = replace(record, id=fresh_id())
    written(shared, lambda tx: tx.put_client(record))
    assert record in shared.load().clients


@given(record=of(TokenRecord))
@few
def test_a_token_comes_back(shared: Store, record: TokenRecord) -> None:
    record = replace(record, id=fresh_id())
    written(shared, lambda tx: tx.put_token(record))
    assert record in shared.tokens()


@given(record=of(LoginRecord))
@few
def test_a_log_in_comes_back_until_it_ends(shared: Store, record: LoginRecord) -> None:
    record = replace(record, digest=fresh_id())
    written(shared, lambda tx: tx.put_login(record))
    assert record in shared.load().logins
    written(shared, lambda tx: tx.drop_login(record.digest))
    assert record not in shared.load().logins


@given(hold=of(Hold))
@few
def test_a_hold_comes_back_until_it_is_taken_away(shared: Store, hold: Hold) -> None:
    hold = replace(hold, key=hold.key._replace(task_id=fresh_id()))
    written(
        shared,
        lambda tx: put_parent(tx, hold.key.task_id),
        lambda tx: tx.put_hold(hold.key, hold),
    )
    assert hold in shared.load().holds
    written(shared, lambda tx: tx.put_hold(hold.key, None))
    assert shared.load().holds == []


@given(record=of(AttemptRecord))
@few
def test_an_attempt_comes_back(shared: Store, record: AttemptRecord) -> None:
    record = replace(record, task_id=fresh_id())
    written(shared, lambda tx: put_parent(tx, record.task_id), lambda tx: tx.put_attempt(record))
    assert shared.attempts(record.task_id) == [record]
    assert shared.attempt(record.task_id, record.attempt) == record
    assert shared.attempt(record.task_id, record.attempt + 1) is None


@given(record=of(UploadRecord))
@few
def test_an_upload_comes_back_until_it_is_dropped(shared: Store, record: UploadRecord) -> None:
    record = replace(record, id=fresh_id(), task_id=fresh_id())
    written(shared, lambda tx: put_parent(tx, record.task_id), lambda tx: tx.put_upload(record))
    assert shared.upload(record.id) == record
    wanted = (record.task_id, record.attempt, record.sha256)
    other = "output" if record.purpose == "checkpoint" else "checkpoint"
    assert shared.find_upload(*wanted, record.purpose) == record
    assert shared.find_upload(*wanted, other) is None
    written(shared, lambda tx: tx.drop_upload(record.id))
    assert shared.upload(record.id) is None


@given(record=of(CheckpointRecord))
@few
def test_a_checkpoint_comes_back(shared: Store, record: CheckpointRecord) -> None:
    record = replace(record, id=fresh_id(), task_id=fresh_id())
    written(shared, lambda tx: put_parent(tx, record.task_id), lambda tx: tx.put_checkpoint(record))
    assert shared.checkpoint(record.id) == record
    assert shared.checkpoints(record.task_id) == [record]


@given(record=of(OutputRecord))
@few
def test_an_output_comes_back_until_it_is_dropped(shared: Store, record: OutputRecord) -> None:
    record = replace(record, task_id=fresh_id())
    written(shared, lambda tx: put_parent(tx, record.task_id), lambda tx: tx.put_output(record))
    assert shared.output(record.task_id, record.path) == record
    assert shared.outputs(record.task_id) == [record]
    assert record.key in shared.artifact_keys()
    written(shared, lambda tx: tx.drop_output(record.task_id, record.path))
    assert shared.outputs(record.task_id) == []


@given(record=of(PackageRecord))
@few
def test_a_package_comes_back(shared: Store, record: PackageRecord) -> None:
    record = replace(record, name=fresh_id())
    written(shared, lambda tx: tx.put_package(record))
    assert shared.package(record.name, record.version) == record
    assert shared.packages(record.name) == ([record], 1, None)
    assert record in shared.packages().items


@given(record=of(DataRecord))
@few
def test_data_comes_back(shared: Store, record: DataRecord) -> None:
    record = replace(record, sha256=fresh_id(), name=fresh_id(), created_at=1.0)
    written(shared, lambda tx: tx.put_data(record))
    assert shared.data(record.sha256, record.putter) == record
    assert shared.data(record.sha256) == (record if record.complete else None)
    assert shared.data_page(record.name).items == ([record] if record.complete else [])
    assert (record in shared.data_on_its_way(2.0)) is not record.complete
    assert record.key in shared.artifact_keys()
    written(shared, lambda tx: tx.drop_data(record.sha256, record.putter))
    assert shared.data(record.sha256, record.putter) is None


def test_what_a_submitter_keeps_is_packages_and_checkpoints_of_theirs(store: Store) -> None:
    assert store.stored("ann") == 0
    package = PackageRecord("p", "1", "0" * 64, 5, "script", "{}", "k", (), "ann", 1.0)
    checkpoint = CheckpointRecord("c", "t", 1, 1, 70, "0" * 64, "k", (), 1.0)
    written(
        store,
        lambda tx: put_parent(tx, "t"),
        lambda tx: tx.put_checkpoint(checkpoint),
        lambda tx: tx.put_package(package),
        lambda tx: tx.put_package(replace(package, name="q", publisher="bob", size=100)),
    )
    owner = store.task("t")
    assert owner is not None
    assert owner.task.submitter == "ann"
    assert (store.stored("ann"), store.stored("bob")) == (75, 100)


@given(record=of(EventRecord))
@few
def test_an_event_comes_back(shared: Store, record: EventRecord) -> None:
    record = replace(record, id=next(numbers), task_id=fresh_id())
    written(shared, lambda tx: tx.add_event(record))
    assert shared.events(task_id=record.task_id) == [record]


def test_what_is_not_there_is_none(store: Store) -> None:
    assert store.task("x") is None
    assert store.upload("x") is None
    assert store.package("x", "1") is None
    assert store.idempotent("x") is None
    assert store.attempts("x") == []
    assert store.summaries(["x"]) == {}
    assert store.series("x") == []
    assert store.performance("x") == (0, 0, 0.0)
    assert store.load() == ([], [], [], [], [], 0)


@pytest.mark.parametrize("odd", ["a\0b", "a\ud800b", "\udcff"])
def test_text_that_a_database_cannot_hold_is_kept_as_far_as_possible(
    store: Store, odd: str
) -> None:
    key = RankKey("t", 1, 0)
    record = replace(new_task("t", message=odd), spec=spec(config={"note": odd}))
    written(
        store,
        lambda tx: tx.put_task(record, None),
        lambda tx: tx.add_event(EventRecord(1, 1.0, "note", odd, "t")),
        lambda tx: tx.add_log(LogLines(key, 0, ("fine", odd))),
        lambda tx: tx.add_points(key, [(1, 1.0, {odd: 1.0})]),
    )
    assert store.log("t", attempt=1, rank=0).lines[0] == "fine"
    assert len(store.log("t", attempt=1, rank=0).lines) == 2
    assert len(store.events()) == len(store.summaries(["t"])["t"]) == 1
    found = store.task("t")
    assert found is not None
    assert found.task.message is not None
    assert found.task.message[0] == odd[0] or len(odd) == 1


# ---------------------------------------------------------------- transactions


def test_nothing_is_visible_before_the_commit(store: Store) -> None:
    with store.transaction() as tx:
        tx.put_task(new_task("t"), None)
        assert store.task("t") is None
    assert store.task("t") is not None


def test_an_error_in_the_block_leaves_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        written(
            store,
            lambda tx: tx.put_task(new_task("t"), None),
            lambda tx: tx.add_event(EventRecord(1, 1 / 0, "submitted", "…")),
        )
    assert store.task("t") is None
    assert store.load().last_event == 0


@pytest.mark.parametrize("stale", [{"attempt": 7}, {"state": State.RUNNING}])
def test_a_task_that_somebody_else_changed_fails_the_whole_transaction(
    store: Store, stale: dict[str, Any]
) -> None:
    record = new_task("t")
    written(store, lambda tx: tx.put_task(record, None))
    believed = replace(record, task=replace(record.task, **stale))
    with pytest.raises(StoreConflict):
        written(
            store,
            lambda tx: tx.add_event(EventRecord(1, 1.0, "assigned", "…")),
            lambda tx: tx.add_points(RankKey("t", 1, 0), [(1, 1.0, {"loss": 1.0})]),
            lambda tx: tx.put_task(replace(record, progress=50.0), believed),
        )
    assert store.task("t") == record
    assert store.events() == []
    assert store.series("t") == []
    with pytest.raises(StoreConflict), store.transaction() as tx:
        tx.put_progress(believed)
    written(store, lambda tx: tx.put_task(replace(record, progress=50.0), record))
    assert store.task("t") == replace(record, progress=50.0)


def test_a_missing_or_second_row_fails_the_transaction(store: Store) -> None:
    record = new_task("t")
    with pytest.raises(StoreConflict), store.transaction() as tx:
        tx.put_task(record, record)
    written(
        store,
        lambda tx: tx.put_task(record, None),
        lambda tx: tx.add_event(EventRecord(1, 1.0, "submitted", "…")),
    )
    with pytest.raises(StoreConflict), store.transaction() as tx:
        tx.put_task(record, None)
    with pytest.raises(StoreConflict), store.transaction() as tx:
        tx.add_event(EventRecord(1, 2.0, "again", "…"))
    with pytest.raises(StoreConflict), store.transaction() as tx:
        tx.put_hold(RankKey("nobody", 1, 0), hold(RankKey("nobody", 1, 0)))
    assert [event.kind for event in store.events()] == ["submitted"]


def hold(key: RankKey) -> Hold:
    return Hold(key, "client", "ann", 1, 1, (), 0, False)


def test_the_last_value_of_a_row_stands(store: Store) -> None:
    record = new_task("t")
    moved = replace(record, task=replace(record.task, attempt=1, state=State.ASSIGNED))
    progressed = replace(moved, progress=40.0, metrics={"loss": 1.0})
    key = RankKey("t", 1, 0)
    with store.transaction() as tx:
        tx.put_task(record, None)
        tx.put_task(moved, record)
        tx.put_progress(progressed)
        tx.put_hold(key, hold(key))
        tx.put_hold(key, None)
        tx.put_hold(key, replace(hold(key), seq=5))
    assert store.task("t") == progressed
    assert store.load().holds == [replace(hold(key), seq=5)]
    ended = replace(progressed, task=replace(progressed.task, state=State.COMPLETED))
    with store.transaction() as tx:
        tx.put_progress(replace(progressed, progress=99.0))
        tx.put_task(ended, progressed)
        tx.put_hold(key, None)
    assert store.task("t") == ended
    assert store.load().holds == []


def test_progress_changes_progress_alone(store: Store) -> None:
    record = new_task("t")
    written(store, lambda tx: tx.put_task(record, None))
    told = replace(
        record,
        task=replace(record.task, priority=9, updated_at=2000.0),
        progress=12.5,
        metrics={"loss": None, "accuracy": 0.5},
    )
    written(store, lambda tx: tx.put_progress(told))
    assert store.task("t") == replace(told, task=replace(told.task, priority=0))


def test_readers_on_other_threads_see_whole_transactions(store: Store) -> None:
    """Two rows that are always written together are never seen apart."""
    record = new_task("t")
    written(store, lambda tx: tx.put_task(record, None), lambda tx: None)

    def read(_: int) -> bool:
        loaded = store.load()
        return loaded.last_event == loaded.tasks[0].progress

    with ThreadPoolExecutor(4) as threads:
        seen = threads.map(read, range(200))
        for number in range(1, 60):
            with store.transaction() as tx:
                tx.put_progress(replace(record, progress=float(number)))
                tx.add_event(EventRecord(number, 1.0, "progress", "…"))
        assert all(seen)


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.task("t")
    with pytest.raises(StoreUnavailable, match="closed"), store.transaction() as tx:
        tx.put_task(new_task("t"), None)
    store.close()


# ---------------------------------------------------------------- questions


def test_tasks_are_listed_newest_first_and_filtered(store: Store) -> None:
    states = list(State)
    records = [
        replace(
            new_task(
                f"{'ab'[n % 2]}-{n:02}",
                submitter=("ann", "bob")[n % 3 == 0],
                state=states[n % len(states)],
                created_at=float(n),
            ),
            deleted_at=1.0 if n % 5 == 0 else None,
        )
        for n in range(40)
    ]
    with store.transaction() as tx:
        for record in records:
            tx.put_task(record, None)
    shown = [record for record in reversed(records) if not record.deleted]

    def found(**wanted: Any) -> list[TaskRecord]:
        return store.tasks(Search(**wanted)).items

    assert store.tasks() == (shown, 32, None)
    third = shown[7].task
    assert store.tasks(offset=3, limit=5) == (shown[3:8], 32, (third.created_at, third.id))
    assert store.tasks(offset=90) == ([], 32, None)
    assert found(submitter="bob") == [r for r in shown if r.task.submitter == "bob"]
    both = ("running", "failed")
    assert found(states=both) == [r for r in shown if r.task.state in both]
    assert found(prefix="a-1") == [r for r in shown if r.task.id.startswith("a-1")]
    assert found(prefix="A-1", states=both) == []
    assert found(prefix="%") == []
    assert found(deleted=True) == [record for record in reversed(records) if record.deleted]
    assert store.counts() == {
        str(state): sum(r.task.state == state for r in shown) for state in states
    }
    assert store.task("a-00") is None
    unfinished = {r.task.id for r in records if r.task.state not in FINAL}
    assert {r.task.id for r in store.load().tasks} == unfinished


def test_events_are_read_from_a_place_by_task_and_by_client(store: Store) -> None:
    events = [
        EventRecord(n, 1.0, "k", "m", f"t{n % 2}", f"c{n % 3}" if n % 4 else None, n)
        for n in range(1, 30)
    ]
    written(store, *(lambda tx, event=event: tx.add_event(event) for event in events))
    assert store.events() == events
    assert store.events(after=10, limit=3) == events[10:13]
    assert store.events(task_id="t1", after=4) == [e for e in events[4:] if e.task_id == "t1"]
    assert store.events(client_id="c2") == [e for e in events if e.client_id == "c2"]
    assert store.load().last_event == 29


def test_a_clients_performance_comes_from_its_ended_attempts(store: Store) -> None:
    def ended(task_id: str, outcome: str, seconds: float, *clients: str) -> AttemptRecord:
        return AttemptRecord(task_id, 1, clients, 50.0, 100.0, 100.0 + seconds, outcome)

    attempts = [
        ended("a", "completed", 10.0, "one"),
        ended("b", "completed", 30.0, "one", "two", "one"),
        ended("c", "failed", 1000.0, "one"),
        AttemptRecord("d", 1, ("one",), 50.0),
    ]
    for attempt in attempts:
        written(
            store,
            lambda tx, attempt=attempt: put_parent(tx, attempt.task_id),
            lambda tx, attempt=attempt: tx.put_attempt(attempt),
        )
    assert store.performance("one") == (2, 3, 20.0)
    assert store.performance("two") == (1, 1, 30.0)
    assert store.performance("three") == (0, 0, 0.0)


def test_an_attempt_is_updated_in_place(store: Store) -> None:
    first = AttemptRecord("t", 1, ("b", "a"), 1.0)
    second = AttemptRecord("t", 2, ("c",), 3.0)
    ended = replace(first, ended_at=2.0, outcome="attempt_lost", provenance={"0": {"seed": 1}})
    written(store, lambda tx: put_parent(tx, "t"), lambda tx: tx.put_attempt(first))
    written(store, lambda tx: tx.put_attempt(second), lambda tx: tx.put_attempt(ended))
    assert store.attempts("t") == [ended, second]


def test_checkpoints_are_listed_newest_first(store: Store) -> None:
    made = [
        CheckpointRecord(f"c{n}", "t", 1, n, 1, "0" * 64, f"k{n}", (), float(n)) for n in range(3)
    ]
    written(
        store,
        lambda tx: put_parent(tx, "t"),
        *(lambda tx, one=one: tx.put_checkpoint(one) for one in made),
    )
    assert store.checkpoints("t") == made[::-1]


def test_newest_best_final_and_pinned_checkpoints_are_no_surplus(store: Store) -> None:
    def made(task_id: str, *marks: dict[str, bool]) -> list[CheckpointRecord]:
        return [
            CheckpointRecord(
                f"{task_id}{n}", task_id, 1, n, 1, "0" * 64, f"k{n}", (), float(n), **mark
            )
            for n, mark in enumerate(marks)
        ]

    best, plain, pinned, final = {"best": True}, {}, {"pinned": True}, {"final": True}
    child = new_task("child")
    child = replace(child, spec=replace(child.spec, from_checkpoint="parent0"))
    kept = [
        *made("running", best, plain, best, plain, pinned, plain, plain),
        *made("over", plain, final, plain, plain),
        *made("parent", plain, plain),
    ]
    written(
        store,
        lambda tx: put_parent(tx, "running"),
        lambda tx: tx.put_task(new_task("over", state=State.STOPPED, ended_at=0.0), None),
        lambda tx: tx.put_task(new_task("parent", state=State.FAILED, ended_at=0.0), None),
        lambda tx: tx.put_task(child, None),
        *(lambda tx, one=one: tx.put_checkpoint(one) for one in kept),
    )
    assert set(store.surplus(100.0)) == {"running0", "running1", "running3", "over0", "over2"}
    assert set(store.surplus(3.0)) == {"running0", "over0"}


def test_an_idempotency_key_remembers_its_answer(store: Store) -> None:
    written(store, lambda tx: tx.put_idempotency("k", "digest", "t", 1.0))
    assert store.idempotent("k") == ("digest", "t")
    written(store, lambda tx: tx.put_idempotency("k", "later", "u", 2.0))
    assert store.idempotent("k") == ("later", "u")


# ---------------------------------------------------------------- logs


@given(
    segments=st.lists(st.integers(1, 7), min_size=1, max_size=12),
    first=st.integers(0, 60),
    limit=st.integers(1, 60),
)
@few
def test_any_range_of_a_log_is_read_across_its_segments(
    shared: Store, segments: list[int], first: int, limit: int
) -> None:
    key = RankKey(fresh_id(), 1, 0)
    lines = [f"line {n}\n{{}}" for n in range(sum(segments))]
    start = 0
    for length in segments:
        part = LogLines(key, start, tuple(lines[start : start + length]))
        written(shared, lambda tx, part=part: tx.add_log(part))
        start += length
    found = shared.log(key.task_id, attempt=1, rank=0, first=first, limit=limit)
    assert found == LogLines(key, first, tuple(lines[first : first + limit]))
    assert shared.log_length(key) == len(lines)


def test_logs_of_attempts_and_ranks_stay_apart(store: Store) -> None:
    for attempt, rank in ((1, 0), (2, 1), (3, 0)):
        part = LogLines(RankKey("t", attempt, rank), 0, (f"{attempt}/{rank}",))
        written(store, lambda tx, part=part: tx.add_log(part))
    assert store.log("t", attempt=1, rank=0).lines == ("1/0",)
    assert store.log("t", attempt=None, rank=0).lines == ("3/0",)
    assert store.log("t", attempt=None, rank=1) == LogLines(RankKey("t", 2, 1), 0, ("2/1",))
    assert store.log("t", attempt=None, rank=2) == LogLines(RankKey("t", 0, 2), 0, ())
    assert store.log_length(RankKey("t", 9, 0)) == 0


def test_every_field_of_a_record_has_a_place(store: Store) -> None:
    """A field added to a record without a column would silently be lost."""
    from aifarm.store import rows

    kinds = [kind for kind in vars(rows).values() if isinstance(kind, rows.Rows)]
    assert len(kinds) == 13
    for kind in kinds:
        columns = {path.partition(".")[0] for path in kind.paths}
        elsewhere = {"clients"} if kind is rows.ATTEMPTS else set()
        derived = {"deleted"} if kind is rows.TASKS else set()
        assert columns | elsewhere == set(fields(kind.shape)) | derived, kind.shape
    task = {path.removeprefix("task.") for path in rows.TASKS.paths if path.startswith("task.")}
    assert task == set(fields(Task))
    assert {field.name for field in msgspec.structs.fields(TaskSpec)} == {
        path.removeprefix("spec.") for path in rows.TASKS.paths if path.startswith("spec.")
    }
