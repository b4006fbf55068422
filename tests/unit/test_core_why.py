"""Why a task waits: what is said is so, and what is advised would help."""

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aifarm.core.farm import Farm
from aifarm.core.room import Capacity, class_of, missing
from aifarm.core.task import OWN, Cause, Look, Needs, Note, RankEnded, RankKey, Task
from aifarm.core.why import HINTS, explain

capacities = st.builds(
    Capacity,
    cpu_cores=st.integers(1, 4),
    ram=st.integers(1, 4),
    gpus=st.lists(st.sampled_from([4, 8, 16]), max_size=2).map(tuple),
)
needs = st.builds(
    Needs,
    st.sampled_from([0, 0, 4, 8, 16]),
    st.integers(0, 4),
    st.integers(0, 4),
    environment=st.sampled_from([OWN, OWN, OWN, "cuda"]),
    reads=st.sampled_from([(), (), (), ("/a",)]),
)
tasks = st.builds(
    Task,
    id=st.just(""),
    submitter=st.sampled_from(["ada", "bob"]),
    created_at=st.just(0.0),
    needs=needs,
    n_clients=st.sampled_from([1, 1, 1, 2, 3]),
    processes=st.sampled_from([1, 1, 1, 2]),
    share_gpu=st.booleans(),
)
builds = st.sampled_from([None, {OWN: "1"}, {OWN: "2"}, {OWN: "2", "cuda": "3"}])


@st.composite
def farms(draw: st.DrawFn) -> Farm:
    farm = Farm()
    for number, capacity in enumerate(draw(st.lists(capacities, max_size=4))):
        lends, build = draw(st.integers(0, 4)) > 0, draw(builds)
        farm.join(f"c{number}", capacity, (), 0.0, lends=lends, environments=build)
        if draw(st.integers(0, 4)) == 0:
            farm.drain(f"c{number}", "repairs")
    if draw(st.booleans()):
        farm.meet("page", 0.0)
        farm.resize("page", draw(capacities))
        if draw(st.booleans()):
            farm.ask("page", 0.0)
    for number, task in enumerate(draw(st.lists(tasks, max_size=6))):
        submit(farm, replace(task, id=f"t{number}"))
    for client in list(farm.clients.values()):
        if client.speaks == "agent":
            farm.see(client.id, draw(st.sampled_from([{}, {"/a": True}, {"/a": False}])))
    farm.place(1.0)
    farm.commit()
    if farm.clients and draw(st.integers(0, 3)) == 0:
        farm.leave(draw(st.sampled_from(sorted(farm.clients))), 1.0)
    return farm


def submit(farm: Farm, task: Task) -> None:
    farm.submit(task, Note("submitted", "Submitted.", task.id))
    farm.place(1.0)
    farm.commit()


def starts(farm: Farm, task: Task) -> bool:
    submit(farm, task)
    return bool(farm.tasks[task.id].ranks)


@settings(max_examples=300)
@given(farms(), tasks)
def test_what_is_said_of_each_client_is_so(farm: Farm, task: Task) -> None:
    task = replace(task, id="new")
    kind, found = class_of(task), explain(farm, task)
    assert [miss.client_id for miss in found.misses] == sorted(farm.clients)
    for miss in found.misses:
        client = farm.clients[miss.client_id]
        lack = missing(client.whole, kind)
        assert miss.never == (lack is not None and lack.amount)
        assert miss.fits == (client.placeable and missing(farm.room(client), kind) is None)
        assert {task_id for task_id, _ in miss.held_by} <= {key.task_id for key in client.holds}
    assert len(found.hints) <= HINTS
    assert found.starts == starts(farm, task)


@settings(max_examples=500)
@given(farms(), tasks, st.data())
def test_what_is_advised_would_help(farm: Farm, task: Task, data: st.DataObject) -> None:
    task = replace(task, id="new")
    hints = explain(farm, task).hints
    if not hints:
        return
    hint = data.draw(st.sampled_from(hints))
    if lowered := re.fullmatch(r"It would start now with (\w+) (\d+)( on \w+)?\.", hint):
        name, number = lowered[1], int(lowered[2])
        if name == "n_clients":
            less = replace(task, n_clients=number)
        else:
            changed: dict[str, Any] = {name.removeprefix("min_"): number}
            less = replace(task, needs=replace(task.needs, **changed))
        assert starts(farm, less)
    elif ends := re.fullmatch(r"(\w+) fits once task (\w+) of (ada|bob) ends\.", hint):
        client_id, task_id = ends[1], ends[2]
        for key in [key for key in farm.holds if key.task_id == task_id]:
            over = RankEnded(at=2.0, attempt=key.attempt, rank=key.rank, cause=Cause.COMPLETED)
            farm.end_rank(RankKey(*key), over)
        assert missing(farm.room(farm.clients[client_id]), class_of(task)) is None
    else:
        away = re.fullmatch(r"(\w+) would fit, but it is .+\.", hint)
        assert away is not None, hint
        client = farm.clients[away[1]]
        assert not client.serves
        assert missing(client.whole, class_of(task)) is None


def test_a_farm_without_clients_says_how_to_start_one() -> None:
    found = explain(Farm(), Task("new", "ada", 0.0))
    assert found.summary.startswith("No client has ever connected; start an agent")
    assert (found.starts, found.position, found.hints) == (False, 1, ())


def test_a_gang_of_unlike_clients_is_told_what_each_has() -> None:
    farm = Farm()
    for name, torch in (("ws1", "2.13.0"), ("ws2", "2.12.1")):
        build = {OWN: f"Python 3.11, torch {torch}"}
        farm.join(name, Capacity(4, 4), (), 0.0, environments=build)
    found = explain(farm, Task("new", "ada", 0.0, n_clients=2))
    assert found.summary == (
        "It waits for 2 clients that match: the same versions of Python, torch and CUDA"
        " (ws1: Python 3.11, torch 2.13.0; ws2: Python 3.11, torch 2.12.1)."
    )
    assert found.hints == ("It would start now with n_clients 1.",)
    assert not found.starts


def test_agents_are_asked_for_the_paths_that_tasks_need() -> None:
    farm = Farm()
    farm.join("ws1", Capacity(4, 4), (), 0.0)
    farm.meet("page", 0.0)
    task = Task("t", "ada", 0.0, Needs(reads=("/a", "/b")))
    assert farm.submit(task, Note("submitted", "…", "t")).commands == (Look("ws1", ("/a", "/b")),)
    another = replace(task, id="t2", needs=Needs(reads=("/b", "/c")))
    assert farm.submit(another, Note("submitted", "…", "t2")).commands == (Look("ws1", ("/c",)),)
    outcome, _ = farm.join("ws2", Capacity(4, 4), (), 0.0)
    assert outcome.commands == (Look("ws2", ("/a", "/b", "/c")),)
    farm.see("ws2", {"/a": True, "/b": True})
    assert {command.client_id for command in farm.place(1.0).commands} == {"ws2"}
    assert explain(farm, another).misses[-1].reason == "it has not said if it can read /c"
    farm.see("ws2", {"/c": False})
    assert explain(farm, another).misses[-1].reason == "it cannot read /c"
