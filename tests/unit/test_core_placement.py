"""Who gets which clients: properties of every plan, against the rules spelled out naively."""

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from aifarm.core.placement import Placement, Queues, Usage, plan, queue_key
from aifarm.core.room import Room, TaskClass, class_of, missing, take
from aifarm.core.task import OWN, PER_GPU, Needs, Task

MEMORIES = (0, 4, 8, 16)


def queues_of(tasks: Iterable[Task]) -> Queues:
    queues: dict[TaskClass, dict[str, list[Task]]] = {}
    for task in tasks:
        queues.setdefault(class_of(task), {}).setdefault(task.submitter, []).append(task)
    return {
        kind: {name: sorted(map(queue_key, queue)) for name, queue in by_submitter.items()}
        for kind, by_submitter in queues.items()
    }


@dataclass
class Case:
    tasks: dict[str, Task]
    rooms: dict[str, Room]
    usage: dict[str, Usage] = field(default_factory=dict)

    def plan(self) -> list[Placement]:
        return plan(queues_of(self.tasks.values()), self.rooms, self.usage).placements


@st.composite
def rooms(draw: st.DrawFn, name: str) -> Room:
    gpus = draw(st.lists(st.sampled_from(MEMORIES), max_size=3))
    shared = draw(st.sets(st.sampled_from(range(len(gpus))))) if gpus else set()
    return Room(
        client_id=name,
        cpu_cores=draw(st.integers(0, 4)),
        ram=draw(st.integers(0, 4)),
        gpus={n: memory for n, memory in enumerate(gpus) if n not in shared},
        shared={n: memory for n, memory in enumerate(gpus) if n in shared},
        **contract_or_agent(draw),
    )


def contract_or_agent(draw: st.DrawFn) -> dict:
    if draw(st.integers(0, 3)) == 0:
        return {"fetches_only": True}
    names = draw(st.sets(st.sampled_from([OWN, OWN, "cuda"])))
    return {
        "environments": {name: draw(st.sampled_from(["3.11, 2.1", "3.12, 2.2"])) for name in names},
        "paths": draw(st.dictionaries(st.sampled_from(["/a", "/b"]), st.booleans())),
    }


@st.composite
def tasks(draw: st.DrawFn, name: str) -> Task:
    processes = draw(st.sampled_from((1, 1, 1, 2, PER_GPU)))
    memories = (1, 4, 8) if processes == PER_GPU else (0, 0, 1, 4, 8)
    return Task(
        id=name,
        submitter=draw(st.sampled_from(["ada", "bob", "eve"])),
        created_at=float(draw(st.integers(0, 3))),
        needs=Needs(
            draw(st.sampled_from(memories)),
            draw(st.integers(0, 2)),
            draw(st.integers(0, 2)),
            draw(st.sampled_from([OWN, OWN, OWN, "cuda"])),
            draw(st.sampled_from([(), (), (), ("/a",), ("/a", "/b")])),
        ),
        processes=processes,
        n_clients=draw(st.sampled_from((1, 1, 1, 2, 3))),
        priority=draw(st.integers(-1, 1)),
        share_gpu=draw(st.booleans()),
        packaged=draw(st.integers(0, 3)) > 0,
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    return Case(
        tasks={f"t{n}": draw(tasks(f"t{n}")) for n in range(draw(st.integers(0, 8)))},
        rooms={f"c{n}": draw(rooms(f"c{n}")) for n in range(draw(st.integers(0, 5)))},
        usage=draw(
            st.dictionaries(
                st.sampled_from(["ada", "bob"]),
                st.builds(Usage, st.integers(0, 2), st.integers(0, 4)),
            )
        ),
    )


# ---------------------------------------------------------------- the rules, spelled out


def fits(room: Room, task: Task, ranks: int = 1) -> bool:
    """Whether so many ranks run there, or as many as are asked for at least."""
    ranks = max(task.processes, ranks)
    gpus = [*room.gpus.values(), *(room.shared.values() if task.share_gpu else ())]
    enough = [free for free in gpus if free >= task.needs.gpu_memory]
    return (
        (task.packaged or room.fetches_only)
        and (task.processes == 1 or not room.fetches_only)
        and task.needs.environment in room.environments
        and all(room.paths.get(path) for path in task.needs.reads)
        and room.cpu_cores >= task.needs.cpu_cores * ranks
        and room.ram >= task.needs.ram * ranks
        and (task.needs.gpu_memory == 0 or len(enough) >= ranks)
    )


def build(room: Room, task: Task) -> tuple[bool, str]:
    return room.fetches_only, room.environments[task.needs.environment]


def placeable(left: Mapping[str, Room], task: Task) -> bool:
    """Whether enough clients fit; a gang takes all of one kind and one build."""
    fitting = [build(room, task) for room in left.values() if fits(room, task)]
    if task.n_clients == 1:
        return bool(fitting)
    return max(Counter(fitting).values(), default=0) >= task.n_clients


def hold(left: dict[str, Room], task: Task, placement: Placement) -> None:
    """Takes what a placement takes."""
    for name in {rank.client_id: None for rank in placement.ranks}:
        own = [rank for rank in placement.ranks if rank.client_id == name]
        gpus = [gpu for rank in own for gpu in rank.gpus]
        left[name] = take(left[name], class_of(task), gpus, len(own))


def whose_turn(waiting: Iterable[Task], used: Mapping[str, Usage]) -> Task | None:
    """Fewest GPUs, then cores, of the submitter; then priority among their own; then age."""
    best: dict[str, Task] = {}
    for task in sorted(waiting, key=lambda task: (-task.priority, task.created_at, task.id)):
        best.setdefault(task.submitter, task)
    return min(
        best.values(),
        key=lambda task: (used.get(task.submitter, Usage()), task.created_at, task.id),
        default=None,
    )


# ---------------------------------------------------------------- properties


@given(cases())
def test_tasks_go_in_queue_order_until_nothing_more_fits(case: Case) -> None:
    left, used, waiting = dict(case.rooms), dict(case.usage), dict(case.tasks)
    placements = case.plan()
    while task := whose_turn(waiting.values(), used):
        if not placeable(left, task):
            alike = [name for name in waiting if class_of(waiting[name]) == class_of(task)]
            for name in alike:
                del waiting[name]
            continue
        del waiting[task.id]
        placement = placements.pop(0)
        assert placement.task_id == task.id
        hold(left, task, placement)
        for rank in placement.ranks:
            if left[rank.client_id].fetches_only:
                del left[rank.client_id]
        before = used.get(task.submitter, Usage())
        used[task.submitter] = Usage(
            before.gpus + sum(len(rank.gpus) for rank in placement.ranks),
            before.cpu_cores + task.needs.cpu_cores * len(placement.ranks),
        )
    assert not placements


@given(cases())
def test_nothing_that_would_still_fit_is_left(case: Case) -> None:
    placements = {placement.task_id: placement for placement in case.plan()}
    left = dict(case.rooms)
    for name, placement in placements.items():
        hold(left, case.tasks[name], placement)
    free = {
        name: room
        for name, room in left.items()
        if not (room.fetches_only and room is not case.rooms[name])
    }
    waiting = [task for name, task in case.tasks.items() if name not in placements]
    assert not [task for task in waiting if placeable(free, task)]


@given(cases())
def test_no_client_gives_more_than_it_has(case: Case) -> None:
    cores, ram, shared = Counter(), Counter(), Counter()
    alone: Counter[tuple[str, int]] = Counter()
    together: set[tuple[str, int]] = set()
    for placement in case.plan():
        task = case.tasks[placement.task_id]
        for rank in placement.ranks:
            room = case.rooms[rank.client_id]
            assert task.packaged or room.fetches_only
            cores[rank.client_id] += task.needs.cpu_cores
            ram[rank.client_id] += task.needs.ram
            for gpu in rank.gpus:
                if task.share_gpu:
                    together.add((rank.client_id, gpu))
                    shared[rank.client_id, gpu] += task.needs.gpu_memory
                else:
                    assert gpu in room.gpus
                    assert room.gpus[gpu] >= task.needs.gpu_memory
                    alone[rank.client_id, gpu] += 1
            assert len(rank.gpus) == 1 or (not rank.gpus and task.needs.gpu_memory == 0)
    for name, room in case.rooms.items():
        assert cores[name] <= room.cpu_cores
        assert ram[name] <= room.ram
        for gpu, free in [*room.gpus.items(), *room.shared.items()]:
            assert shared[name, gpu] <= free
            assert alone[name, gpu] <= 1
    assert not together & set(alone)


@given(cases())
def test_a_gang_gets_all_its_clients_or_none_and_all_of_one_build(case: Case) -> None:
    for placement in case.plan():
        task, clients = case.tasks[placement.task_id], {rank.client_id for rank in placement.ranks}
        assert len(clients) == task.n_clients
        assert len({build(case.rooms[name], task) for name in clients}) == 1


@given(cases())
def test_each_client_of_a_gang_runs_as_many_ranks_and_their_numbers_follow(case: Case) -> None:
    for placement in case.plan():
        task, clients = case.tasks[placement.task_id], [r.client_id for r in placement.ranks]
        each = len(clients) // task.n_clients
        assert task.processes in (each, PER_GPU)
        for first in range(0, len(clients), each):
            assert len(set(clients[first : first + each])) == 1
        own = [(rank.client_id, gpu) for rank in placement.ranks for gpu in rank.gpus]
        assert len(own) == len(set(own))
        assert len(own) in (0, len(clients))


@given(rooms("c"), tasks("t"))
def test_one_rank_per_gpu_takes_every_gpu_that_it_can(room: Room, task: Task) -> None:
    task = replace(task, processes=PER_GPU, n_clients=1, needs=replace(task.needs, gpu_memory=1))
    for placement in Case({"t": task}, {"c": room}).plan():
        assert fits(room, task, len(placement.ranks))
        assert not fits(room, task, len(placement.ranks) + 1)


@given(cases())
def test_a_contract_only_client_gets_one_rank_at_a_time(case: Case) -> None:
    given_to = Counter(rank.client_id for placement in case.plan() for rank in placement.ranks)
    assert all(given_to[name] <= 1 for name, room in case.rooms.items() if room.fetches_only)


@given(cases(), st.randoms(use_true_random=False))
def test_the_plan_depends_on_no_order_of_dicts(case: Case, random: object) -> None:
    def shuffled(mapping: Mapping) -> dict:
        items = list(mapping.items())
        random.shuffle(items)  # type: ignore[attr-defined]
        return dict(items)

    queues = queues_of(case.tasks.values())
    again = plan(
        shuffled({kind: shuffled(by_submitter) for kind, by_submitter in queues.items()}),
        shuffled(
            {
                name: Room(
                    room.client_id,
                    room.cpu_cores,
                    room.ram,
                    shuffled(room.gpus),
                    shuffled(room.shared),
                    room.ranks,
                    room.fetches_only,
                    shuffled(room.environments),
                    shuffled(room.paths),
                )
                for name, room in case.rooms.items()
            }
        ),
        shuffled(case.usage),
    )
    assert again.placements == case.plan()


@given(cases())
def test_planning_changes_nothing_it_is_given(case: Case) -> None:
    queues, given_rooms, usage = queues_of(case.tasks.values()), case.rooms, case.usage
    before = copy.deepcopy((queues, given_rooms, usage))
    plan(queues, given_rooms, usage)
    assert (queues, given_rooms, usage) == before


@given(cases())
def test_what_needs_no_gpu_uses_a_free_one(case: Case) -> None:
    lone = [task for task in case.tasks.values() if task.n_clients == task.processes == 1]
    assume(lone)
    task = lone[0]
    for placement in Case({task.id: task}, case.rooms).plan():
        if not placement.ranks[0].gpus:
            for room in case.rooms.values():
                usable = [*room.gpus, *(room.shared if task.share_gpu else ())]
                assert not (fits(room, task) and usable)


@given(rooms("c"), tasks("t"))
def test_missing_says_nothing_exactly_where_the_task_fits(room: Room, task: Task) -> None:
    assert (missing(room, class_of(task)) is None) == fits(room, task)


# ---------------------------------------------------------------- examples


def kind(
    gpu_memory: int = 0, cpu_cores: int = 1, ram: int = 1, *, share: bool = False, **other: object
) -> TaskClass:
    return class_of(
        Task("t", "ada", 0.0, Needs(gpu_memory, cpu_cores, ram), share_gpu=share, **other)  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (kind(packaged=False), "the farm does not have its package"),
        (kind(99, 99, 99), "needs 99 CPU cores, 4 free"),
        (kind(99, 1, 99), "needs 99 MiB of RAM, 8 free"),
        (kind(99), "needs a GPU with 99 MiB, 6 free at most on one GPU"),
        (kind(8), "needs a GPU with 8 MiB, 6 free at most on one GPU"),
        (kind(99, share=True), "needs a GPU with 99 MiB, 10 free at most on one GPU"),
        (kind(8, share=True), None),
        (kind(6, 4, 8), None),
        (kind(0), None),
        (kind(0, 3, processes=2), "needs 3 CPU cores for each of 2 processes, 2 free"),
        (kind(6, processes=2), "needs a GPU with 6 MiB for each of 2 processes, no GPU free"),
        (
            kind(8, share=True, processes=2),
            "needs a GPU with 8 MiB for each of 2 processes, 6 free at most on one GPU",
        ),
        (kind(6, share=True, processes=2), None),
    ],
)
def test_missing_names_the_first_unmet_requirement(wanted: TaskClass, words: str | None) -> None:
    room = Room("c", cpu_cores=4, ram=8, gpus={0: 6}, shared={1: 10})
    said = missing(room, wanted)
    assert said is None if words is None else said is not None and said.words().startswith(words)


def test_missing_says_that_there_is_no_gpu() -> None:
    for room in (Room("c", 4, 8), Room("c", 4, 8, shared={0: 9})):
        said = missing(room, kind(1))
        assert said is not None
        assert said.words() == "needs a GPU with 1 MiB, no GPU free"


def one_by_one(*tasks: Task, usage: Mapping[str, Usage] | None = None) -> list[str]:
    """The order in which a client that can hold only one of them would get these tasks."""
    waiting, order = {task.id: task for task in tasks}, []
    while waiting:
        (placement,) = Case(dict(waiting), {"c": Room("c", 1, 1)}, dict(usage or {})).plan()
        order.append(placement.task_id)
        del waiting[placement.task_id]
    return order


def test_the_submitter_with_the_fewest_gpus_then_cores_comes_first() -> None:
    tasks = [Task(name, name, 0.0) for name in ("ada", "bob", "eve")]
    usage = {"ada": Usage(1, 1), "bob": Usage(0, 8), "eve": Usage(0, 2)}
    assert one_by_one(*tasks, usage=usage) == ["eve", "bob", "ada"]


def test_a_priority_counts_among_its_submitter_s_own_tasks_only() -> None:
    tasks = [
        Task("old", "ada", 1.0),
        Task("urgent", "bob", 3.0, priority=100),
        Task("patient", "bob", 2.0),
    ]
    assert one_by_one(*tasks) == ["old", "urgent", "patient"]


def test_submitters_take_turns_within_one_plan() -> None:
    tasks = {f"{who}{n}": Task(f"{who}{n}", who, float(n)) for who in "ab" for n in range(3)}
    placed = Case(tasks, {"c": Room("c", 4, 4)}).plan()
    assert [placement.task_id for placement in placed] == ["a0", "b0", "a1", "b1"]


def test_smaller_tasks_go_ahead_of_a_gang_that_does_not_fit() -> None:
    tasks = {"gang": Task("gang", "ada", 0.0, n_clients=3), "small": Task("small", "ada", 1.0)}
    case = Case(tasks, {name: Room(name, 1, 1) for name in ("a", "b")})
    assert [placement.task_id for placement in case.plan()] == ["small"]


def test_the_tightest_gpu_is_taken_and_free_cores_are_spread() -> None:
    case = Case(
        {"t": Task("t", "ada", 0.0, Needs(gpu_memory=8))},
        {"big": Room("big", 8, 8, {0: 24, 1: 16}), "small": Room("small", 2, 8, {0: 8, 1: 12})},
    )
    (placement,) = case.plan()
    assert (placement.ranks[0].client_id, placement.ranks[0].gpus) == ("small", (0,))
    case = Case({"t": Task("t", "ada", 0.0)}, {"a": Room("a", 2, 8), "b": Room("b", 6, 8)})
    assert case.plan()[0].ranks[0].client_id == "b"


def test_a_gpu_in_use_is_shared_before_another_is_opened() -> None:
    case = Case(
        {"t": Task("t", "ada", 0.0, Needs(gpu_memory=4), share_gpu=True)},
        {"c": Room("c", 4, 4, gpus={0: 4}, shared={1: 20})},
    )
    assert case.plan()[0].ranks[0].gpus == (1,)


def test_what_a_client_cannot_offer_is_said_with_what_it_can() -> None:
    room = Room("c", 4, 8, environments={OWN: "", "cuda": ""}, paths={"/a": True, "/b": False})

    def said(**needs: object) -> str | None:
        found = missing(room, class_of(Task("t", "ada", 0.0, Needs(**needs))))  # type: ignore[arg-type]
        return found and found.words()

    assert said(environment="jax") == "it has no environment jax (it has: cuda, default)"
    assert said(environment="cuda", reads=("/a",)) is None
    assert said(reads=("/a", "/b")) == "it cannot read /b"
    assert said(reads=("/c",)) == "it has not said if it can read /c"


def test_a_gang_takes_clients_that_match_before_those_that_fit_better() -> None:
    def room(name: str, cores: int, build: str) -> Room:
        return Room(name, cores, 4, environments={OWN: build})

    rooms = {
        r.client_id: r for r in (room("a", 9, "2.1"), room("b", 4, "2.2"), room("c", 4, "2.2"))
    }
    (placement,) = Case({"t": Task("t", "ada", 0.0, n_clients=2)}, rooms).plan()
    assert [rank.client_id for rank in placement.ranks] == ["b", "c"]
    assert not Case({"t": Task("t", "ada", 0.0, n_clients=3)}, rooms).plan()


def test_one_rank_per_gpu_means_the_same_number_on_each_client() -> None:
    rooms = {
        "a": Room("a", 8, 8, {0: 9, 1: 9, 2: 9}),
        "b": Room("b", 8, 8, {0: 9, 1: 9}),
        "c": Room("c", 8, 8, {0: 9}),
    }
    task = Task("t", "ada", 0.0, Needs(gpu_memory=1), n_clients=2, processes=PER_GPU)
    (placement,) = Case({"t": task}, rooms).plan()
    assert [(rank.client_id, rank.gpus) for rank in placement.ranks] == [
        ("a", (0,)),
        ("a", (1,)),
        ("b", (0,)),
        ("b", (1,)),
    ]


def test_what_is_larger_than_all_that_is_free_costs_no_look_at_the_clients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many classes of tasks wait on a farm that is busy."""
    looks: list[Room] = []

    def look(room: Room, kind: TaskClass) -> object:
        looks.append(room)
        return missing(room, kind)

    monkeypatch.setattr("aifarm.core.placement.missing", look)
    needs = [Needs(reads=(f"/runs/{number}",)) for number in range(200)]
    tasks = [Task(str(number), "ada", 0.0, needs=one) for number, one in enumerate(needs)]
    busy = {name: Room(name, 0, 8) for name in "abc"}
    assert plan(queues_of(tasks), busy, {}).placements == []
    assert looks == []
