"""What lists can be asked for: the grammar, and SQL against a plain reading of it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cmp_to_key
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import event

from aifarm.app.cursors import cursor, position
from aifarm.app.errors import InvalidRequest
from aifarm.app.ports import Store
from aifarm.app.records import About, TaskRecord, TaskSpec
from aifarm.app.search import (
    Condition,
    Config,
    Metric,
    Order,
    Position,
    Search,
    condition,
    direction,
    order,
    search_of,
)
from aifarm.core.task import RankKey, State, Task
from aifarm.store import open_store
from aifarm.wire.query import TaskQuery
from databases import KINDS, empty

# ---------------------------------------------------------------- the grammar


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("config.learning_rate<0.01", Condition(Config("learning_rate"), "<", 0.01)),
        ("config.lr <= 1e-3", Condition(Config("lr"), "<=", 0.001)),
        ("config.optimizer.name=adam", Condition(Config("optimizer.name"), "=", "adam")),
        ('config.version="32"', Condition(Config("version"), "=", "32")),
        ("config.version~32", Condition(Config("version"), "~", "32")),
        ("config.path=a=b", Condition(Config("path"), "=", "a=b")),
        ("config.note=", Condition(Config("note"), "=", "")),
        ("config.amp!=true", Condition(Config("amp"), "!=", "true")),
        ("metrics.loss.min<0.5", Condition(Metric("loss", "min"), "<", 0.5)),
        ("metrics.val/top.1.best>=-.5", Condition(Metric("val/top.1", "best"), ">=", -0.5)),
    ],
)
def test_a_condition_is_understood(text: str, meant: Condition) -> None:
    assert condition(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "=", "config=1", "config.=1", "loss<1", "metrics.loss<1", "metrics.loss.mean<1"),
        *("config.lr", "config.a b=1", "config.name<adam", "metrics.loss.min<low"),
        *("metrics.loss.min~5", "config.lr<1e999", "deleted=1", "tasks.env=x"),
    ],
)
def test_anything_else_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        condition(text)
    assert refused.value.details["field"] == "where"
    assert "expected" in refused.value.details


@pytest.mark.parametrize(
    "text", ["", "-", "env", "id", "metrics.loss", "config.", "created_at desc"]
)
def test_lists_are_sorted_by_what_is_allowed_only(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        order(text)
    assert refused.value.details["field"] == "sort"


@pytest.mark.parametrize("text", ["x", "!!", "bnVsbA", "W10", "eyJhIjoxfQ", "é"])
def test_a_cursor_of_somebody_elses_making_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        position(Order(), text)
    assert refused.value.details["field"] == "cursor"


def test_a_cursor_is_good_for_its_own_order_only() -> None:
    by_title = order("title")
    made = cursor(by_title, ("x", "id"))
    assert position(by_title, made) == ("x", "id")
    for other in ("-title", "created_at", "config.title"):
        with pytest.raises(InvalidRequest, match="another order"):
            position(order(other), made)
    with pytest.raises(InvalidRequest):
        position(order("created_at"), cursor(order("created_at"), ("x", "id")))


# ---------------------------------------------------------------- against a plain reading

NUMBERS = [0.0, 1.0, -2.5, 1e-3, 32.0]
TEXTS = ["adam", "sgd", "32", "", "100%", "a_b", "true"]
VALUES = st.sampled_from([*NUMBERS, *map(int, [0, 1, 32]), *TEXTS, True, False, None, [1], 2**70])
CONFIGS = st.dictionaries(
    st.sampled_from(["lr", "opt", "opt.name", "x"]),
    VALUES | st.dictionaries(st.just("name"), VALUES, max_size=1),
    max_size=3,
)
POINTS = st.lists(
    st.tuples(
        st.sampled_from(["loss", "acc"]),
        st.sampled_from([None, 0.25, 0.5, 0.75]),
        st.integers(1, 2),
    ),
    max_size=4,
)
TASK = st.fixed_dictionaries(
    {
        "config": CONFIGS,
        "points": POINTS,
        "best": st.dictionaries(st.just("acc"), st.sampled_from(["min", "max"])),
        "state": st.sampled_from(State),
        "created_at": st.sampled_from([1.0, 2.0, 3.0]),
        "project": st.sampled_from([None, "p", "q"]),
        "title": st.sampled_from([None, "Net", "zoo 100%"]),
        "notes": st.sampled_from([None, "a zoo"]),
        "tags": st.lists(st.sampled_from(["a", "b"]), unique=True).map(tuple),
        "deleted": st.booleans(),
    }
)
CONDITIONS = st.one_of(
    st.builds(
        Condition,
        st.sampled_from(["lr", "opt", "opt.name", "x"]).map(Config),
        st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
        st.sampled_from(NUMBERS),
    ),
    st.builds(
        Condition,
        st.sampled_from(["lr", "opt", "opt.name", "x"]).map(Config),
        st.sampled_from(["=", "!=", "~"]),
        st.sampled_from([*TEXTS, "A", "%", "_", "null"]),
    ),
    st.builds(
        Condition,
        st.builds(
            Metric,
            st.sampled_from(["loss", "acc", "none"]),
            st.sampled_from(["last", "min", "max", "best", "step"]),
        ),
        st.sampled_from(["=", "!=", "<", "<=", ">", ">="]),
        st.sampled_from([0.25, 0.5, 1.0]),
    ),
)
ORDERS = st.sampled_from(
    ["created_at", "updated_at", "title", "status", "config.lr", "config.opt.name"]
    + [f"metrics.{name}" for name in ("loss.min", "loss.last", "acc.max", "acc.best", "acc.step")]
).flatmap(lambda name: st.sampled_from([order(name), order(f"-{name}")]))
SEARCHES = st.builds(
    Search,
    states=st.lists(st.sampled_from([str(state) for state in State]), max_size=2).map(tuple),
    project=st.sampled_from([None, None, "p"]),
    tags=st.lists(st.sampled_from(["a", "b"]), max_size=2).map(tuple),
    text=st.sampled_from([None, None, "ZOO", "%", "net"]),
    since=st.sampled_from([None, 2.0]),
    until=st.sampled_from([None, 3.0]),
    where=st.lists(CONDITIONS, max_size=2).map(tuple),
    deleted=st.booleans(),
    order=ORDERS,
)


class Told:
    """A task and its points, read without SQL."""

    def __init__(self, record: TaskRecord, points: list[tuple[str, float | None, int]]) -> None:
        self.record = record
        self.config = dict(_flat("", record.spec.config))
        self._points = sorted(points, key=lambda one: one[2])

    def metric(self, wanted: Metric) -> float | None:
        own = [one for one in self._points if one[0] == wanted.name]
        numbers = [value for _, value, _ in own if value is not None]
        stat = wanted.stat
        if stat == "best":
            stat = direction(self.record.spec.best, wanted.name)
        if stat == "step":
            return float(len([one for one in own if one[2] == own[-1][2]])) if own else None
        if stat == "last":
            return own[-1][1] if own else None
        return (min if stat == "min" else max)(numbers, default=None)

    def meets(self, wanted: Condition) -> bool:
        if isinstance(wanted.subject, Metric):
            found: Any = self.metric(wanted.subject)
            return found is not None and _holds(found, wanted.operator, wanted.value)
        if wanted.subject.path not in self.config:
            return False
        found = self.config[wanted.subject.path]
        if isinstance(found, str) != isinstance(wanted.value, str):
            return wanted.operator == "!="
        return _holds(found, wanted.operator, wanted.value)

    def found_by(self, search: Search) -> bool:
        record, about = self.record, self.record.about
        texts = [text.lower() for text in (about.title, record.spec.name, about.notes) if text]
        return (
            record.deleted == search.deleted
            and (not search.states or record.task.state in search.states)
            and search.project in (None, about.project)
            and set(search.tags) <= set(about.tags)
            and (search.text is None or any(search.text.lower() in text for text in texts))
            and (search.since is None or record.task.created_at >= search.since)
            and (search.until is None or record.task.created_at < search.until)
            and all(map(self.meets, search.where))
        )

    def key(self, by: Order) -> list[Any]:
        match by.subject:
            case Config(path):
                value = self.config.get(path)
                is_text = isinstance(value, str)
                if value is None:
                    return [None, None]
                return [None, value] if is_text else [float(value), ""]
            case Metric() as metric:
                return [self.metric(metric)]
            case "title":
                return [self.record.about.title or self.record.spec.name]
            case "status":
                return [str(self.record.task.state)]
            case name:
                return [getattr(self.record.task, name)]


def _flat(path: str, config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Later ones of the same name lose. Words for what is neither number nor text."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            for key, inner in _flat(f"{path}{name}.", value):
                found.setdefault(key, inner)
        elif not isinstance(value, list):
            words = {True: "true", False: "false", None: "null"}
            word = isinstance(value, bool) or value is None
            found.setdefault(path + name, words[value] if word else value)
    yield from found.items()


def _holds(found: Any, operator: str, value: Any) -> bool:
    if operator == "~":
        return value.lower() in found.lower()
    return {
        "=": found == value,
        "!=": found != value,
        "<": operator == "<" and found < value,
        "<=": operator == "<=" and found <= value,
        ">": operator == ">" and found > value,
        ">=": operator == ">=" and found >= value,
    }[operator]


def _in_order(told: list[Told], by: Order) -> list[str]:
    """Missing values last, ties by the id, all turned round where descending."""

    def compare(one: Told, other: Told) -> int:
        rows = [[*told.key(by), told.record.task.id] for told in (one, other)]
        for left, right in zip(*rows, strict=True):
            if left != right:
                if left is None or right is None:
                    return 1 if left is None else -1
                smaller = left < right
                return -1 if smaller != by.descending else 1
        return 0

    return [one.record.task.id for one in sorted(told, key=cmp_to_key(compare))]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = open_store(empty(request.param, tmp_path))
    yield store
    store.close()


@pytest.fixture(scope="module", params=KINDS)
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    store = open_store(empty(request.param, tmp_path_factory.mktemp("shared")))
    yield store
    store.close()


def _stored(store: Store, tasks: list[dict[str, Any]]) -> list[Told]:
    """The store holds these tasks and no other."""
    told = []
    with store.transaction() as tx:
        for known in (*store.tasks(limit=1000).items, *store.trash()):
            tx.purge_task(known.task.id)
    with store.transaction() as tx:
        for number, given_ in enumerate(tasks):
            task_id = f"t{number}"
            record = TaskRecord(
                Task(
                    task_id,
                    "ann",
                    given_["created_at"],
                    state=given_["state"],
                    updated_at=-given_["created_at"],
                ),
                TaskSpec("training", "net", given_["config"], best=given_["best"]),
                deleted_at=1.0 if given_["deleted"] else None,
                about=About(given_["project"], given_["title"], given_["tags"], given_["notes"]),
            )
            tx.put_task(record, None)
            told.append(Told(record, given_["points"]))
            steps: dict[tuple[str, int], int] = {}
            for name, value, attempt in given_["points"]:
                step = steps[name, attempt] = steps.get((name, attempt), 0) + 1
                tx.add_points(RankKey(task_id, attempt, 0), [(step, 1.0, {name: value})])
    return told


@given(tasks=st.lists(TASK, max_size=6), searches=st.lists(SEARCHES, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_every_search_finds_what_a_plain_reading_of_it_finds(
    shared: Store, tasks: list[dict[str, Any]], searches: list[Search]
) -> None:
    told = _stored(shared, tasks)
    for search in searches:
        meant = _in_order([one for one in told if one.found_by(search)], search.order)
        found = shared.tasks(search)
        assert [record.task.id for record in found.items] == meant
        assert (found.total, found.following) == (len(meant), None)
        assert _walked(shared, search) == meant


def _walked(store: Store, search: Search) -> list[str]:
    """By cursors, two at a time."""
    ids: list[str] = []
    after = None
    while True:
        page = store.tasks(search, after=after, limit=2, counted=False)
        ids += [record.task.id for record in page.items]
        assert page.total is None
        if page.following is None:
            return ids
        after = position(search.order, cursor(search.order, page.following))


def test_a_walk_is_not_disturbed_by_new_tasks(store: Store) -> None:
    def put(number: int) -> None:
        with store.transaction() as tx:
            task = Task(f"t{number}", "ann", float(number))
            tx.put_task(TaskRecord(task, TaskSpec("training", "net", {})), None)

    for number in range(6):
        put(number)
    first = store.tasks(limit=3)
    put(6)
    second = store.tasks(after=first.following, limit=3)
    seen = [record.task.id for record in (*first.items, *second.items)]
    assert seen == ["t5", "t4", "t3", "t2", "t1", "t0"]


def test_new_tags_take_the_place_of_the_old_ones(store: Store) -> None:
    record = TaskRecord(
        Task("t", "ann", 1.0), TaskSpec("training", "net", {"tag": "c"}), about=About(tags=("a",))
    )
    with store.transaction() as tx:
        tx.put_task(record, None)
    with store.transaction() as tx:
        tx.put_task(replace(record, about=About(tags=("b",))), record)
        tx.put_tags("t", ("b",))
    assert store.tasks(Search(tags=("a",))).items == []
    assert len(store.tasks(Search(tags=("b",), where=(condition("config.tag=c"),))).items) == 1


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        (TaskQuery(), "ix_tasks_created_at"),
        (TaskQuery(submitter="ann"), "ix_tasks_submitter"),
        (TaskQuery(status=["running"]), "ix_tasks_state"),
        (TaskQuery(project="p"), "ix_tasks_project"),
        (TaskQuery(parent="t"), "ix_tasks_parent"),
        (TaskQuery(since=datetime.fromtimestamp(5, UTC)), "ix_tasks_created_at"),
    ],
)
def test_a_page_of_a_large_farm_is_a_walk_along_an_index(
    tmp_path: Path, asked: TaskQuery, index: str
) -> None:
    plan = _plan(tmp_path, asked, after=(5.0, "t"))
    (step,) = plan  # nothing is sorted, nothing else is read
    assert step.startswith("SEARCH tasks USING INDEX " + index)
    assert "created_at" in step


def test_a_list_sorted_by_config_looks_each_value_up_by_task_and_key(tmp_path: Path) -> None:
    plan = _plan(tmp_path, TaskQuery(sort="config.lr"))
    looked_up = [step for step in plan if "facts" in step]
    assert len(looked_up) == 2
    assert all("(task_id=? AND key=?)" in step for step in looked_up)


def _plan(folder: Path, asked: TaskQuery, after: Position | None = None) -> list[str]:
    """How SQLite finds a page."""
    store = open_store(f"sqlite:///{folder}/farm.db")
    statements: list[tuple[str, Any]] = []
    with store._reading() as connection:
        engine = connection.engine
    event.listen(
        engine,
        "before_cursor_execute",
        lambda c, cursor, sql, values, *_: statements.append((sql, values)),
    )
    store.tasks(search_of(asked, asked.sort), after=after, limit=100, counted=False)
    sql, values = statements[-1]  # after BEGIN
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values).all()
    store.close()
    return [row.detail for row in rows]
