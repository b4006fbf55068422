"""A task that waits long gets its turn: what it needs is kept free for it (FAULTS row 25)."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aifarm.core.farm import REVIEW, Farm
from aifarm.core.placement import KEEP, PATIENCE, Plan, Usage, plan, queue_key
from aifarm.core.room import Capacity, Room, class_of, keep_back, missing, take
from aifarm.core.task import Cause, Needs, Note, RankEnded, RankKey, Task
from aifarm.core.why import explain

AGENT = Capacity(cpu_cores=4, ram=4, gpus=(8,))


def waiting(*tasks: Task) -> dict:
    queues: dict = {}
    for task in sorted(tasks, key=queue_key):
        queues.setdefault(class_of(task), {}).setdefault(task.submitter, []).append(queue_key(task))
    return queues


def whole(room: Room) -> Room:
    return Room(room.client_id, 4, 4, {0: 8}, fetches_only=room.fetches_only)


def planned(tasks: Iterable[Task], rooms: Iterable[Room], at: float) -> Plan:
    given_rooms = {room.client_id: room for room in rooms}
    return plan(
        waiting(*tasks), given_rooms, {}, at, lambda: [whole(one) for one in given_rooms.values()]
    )


GANG = Task("gang", "ada", 0.0, Needs(cpu_cores=3), n_clients=2)


def test_what_a_gang_needs_is_kept_once_it_has_waited_and_the_rest_is_given_out() -> None:
    rooms = [Room("a", 4, 4), Room("b", 2, 4)]
    small = [Task(f"s{n}", "bob", 1.0) for n in range(6)]
    early = planned([GANG, *small], rooms, PATIENCE - 1)
    assert (len(early.placements), early.reserved) == (6, None)
    late = planned([GANG, *small], rooms, PATIENCE)
    assert [placement.ranks[0].client_id for placement in late.placements] == ["a"]
    assert late.reserved is not None
    assert (late.reserved.task_id, late.reserved.client_ids) == ("gang", {"a", "b"})


def test_clients_are_kept_for_an_hour_and_then_others_have_the_next() -> None:
    def kept(at: float) -> bool:
        return planned([GANG], [Room("a", 0, 0), Room("b", 0, 0)], at).reserved is not None

    assert [kept(PATIENCE + share * KEEP) for share in (0, 0.9, 1, 1.9, 2, 2.9, 3)] == [
        True,
        True,
        False,
        False,
        True,
        True,
        False,
    ]


def test_nothing_is_kept_for_a_task_that_no_client_could_ever_take() -> None:
    large = Task("large", "ada", 0.0, Needs(cpu_cores=5))
    assert planned([large], [Room("a", 1, 1)], PATIENCE).reserved is None
    assert planned([GANG], [Room("a", 1, 1)], PATIENCE).reserved is None


def test_clients_are_kept_for_one_task_at_a_time() -> None:
    """Two gangs with half of the clients each would wait for each other."""
    other = Task("other", "bob", 1.0, Needs(cpu_cores=3), n_clients=3)
    rooms = [Room(name, 0, 0) for name in "abcd"]
    found = planned([GANG, other], rooms, PATIENCE + 10).reserved
    assert found is not None
    assert found.task_id == "gang"


def test_a_gpu_is_kept_and_the_others_are_not() -> None:
    kind = class_of(Task("t", "ada", 0.0, Needs(gpu_memory=6)))
    left = keep_back(Room("a", 4, 4, {0: 8, 1: 16}), kind)
    assert (left.gpus, left.cpu_cores, left.ram) == ({1: 16}, 3, 3)
    shares = class_of(Task("t", "ada", 0.0, Needs(gpu_memory=6), share_gpu=True))
    assert keep_back(Room("a", 4, 4, shared={0: 2, 1: 4}), shares).shared == {0: 2}


rooms = st.builds(
    Room,
    client_id=st.just(""),
    cpu_cores=st.integers(0, 4),
    ram=st.integers(0, 4),
    gpus=st.dictionaries(st.just(0), st.just(8)),
    fetches_only=st.booleans(),
)
tasks = st.builds(
    Task,
    id=st.just(""),
    submitter=st.sampled_from(["ada", "bob", "eve"]),
    created_at=st.sampled_from([0.0, 1.0, 5000.0]),
    needs=st.builds(Needs, st.sampled_from([0, 4]), st.integers(0, 4), st.integers(0, 4)),
    n_clients=st.integers(1, 3),
    share_gpu=st.booleans(),
)


@given(st.lists(rooms, max_size=5), st.lists(tasks, max_size=6), st.floats(0, 3 * KEEP))
def test_a_plan_with_clients_kept_overcommits_none_and_is_the_same_each_time(
    given_rooms: list[Room], given_tasks: list[Task], at: float
) -> None:
    left = {
        f"c{n}": Room(f"c{n}", r.cpu_cores, r.ram, r.gpus, fetches_only=r.fetches_only)
        for n, r in enumerate(given_rooms)
    }
    named = {f"t{n}": replace(t, id=f"t{n}") for n, t in enumerate(given_tasks)}
    found = planned(named.values(), left.values(), at)
    assert found == planned(reversed(named.values()), reversed(left.values()), at)
    for placement in found.placements:
        kind = class_of(named[placement.task_id])
        assert len({rank.client_id for rank in placement.ranks}) == kind.n_clients
        for rank in placement.ranks:
            room = left[rank.client_id]
            assert missing(room, kind) is None
            left[rank.client_id] = take(room, kind, rank.gpus, 1)
    if found.reserved is not None:
        assert found.reserved.task_id not in {one.task_id for one in found.placements}
        assert len(found.reserved.client_ids) == found.reserved.kind.n_clients


# ---------------------------------------------------------------- a farm with a stream of tasks


@dataclass
class Stream:
    """A farm where small tasks come without end and each runs for a while."""

    clients: int
    farm: Farm = field(default_factory=Farm)
    now: float = 0.0
    ends: dict[str, float] = field(default_factory=dict)
    number: int = 0

    def __post_init__(self) -> None:
        for client in range(self.clients):
            self.farm.join(f"c{client}", AGENT, (), 0.0)

    def submit(self, task: Task) -> None:
        self.farm.submit(task, Note("submitted", "…", task.id))

    def pass_by(self, seconds: float, lasts: float, needs: Needs) -> None:
        """Time goes on: tasks end, so many come that the farm is full, and what fits starts."""
        self.now += seconds
        for task_id in [name for name, end in self.ends.items() if end <= self.now]:
            del self.ends[task_id]
            task = self.farm.tasks[task_id]
            ended = RankEnded(at=self.now, attempt=task.attempt, rank=0, cause=Cause.COMPLETED)
            self.farm.end_rank(RankKey(task_id, task.attempt, 0), ended)
        while len([one for one in self.farm.tasks.values() if one.waiting]) < 4 * self.clients + 1:
            self.number += 1
            name = f"s{self.number}"
            submitter = f"stranger{self.number % 5}"
            self.submit(Task(name, submitter, self.now, needs))
        self.farm.place(self.now)
        self.farm.commit()
        for task in self.farm.tasks.values():
            if task.ranks and task.world_size == 1 and task.id not in self.ends:
                # They never end all at once, but for chance.
                self.ends[task.id] = self.now + lasts * (0.4 + 0.1 * (len(self.ends) % 7))


@settings(max_examples=30, deadline=None)
@given(
    clients=st.integers(2, 4),
    lasts=st.floats(300, 900),
    every=st.floats(20, 60),
    wants=st.builds(Needs, st.sampled_from([0, 8]), st.integers(2, 4), st.integers(1, 4)),
    small=st.builds(Needs, st.sampled_from([0, 0, 8]), st.just(1), st.just(1)),
)
def test_a_gang_starts_however_many_small_tasks_come(
    clients: int, lasts: float, every: float, wants: Needs, small: Needs
) -> None:
    """Without clients kept for it, nine in ten of these gangs never start."""
    stream = Stream(clients)
    for _ in range(50):
        stream.pass_by(every, lasts, small)
    submitted = stream.now
    stream.submit(Task("gang", "ada", submitted, wants, n_clients=clients))
    while not stream.farm.tasks["gang"].ranks:
        assert stream.now < submitted + PATIENCE + 2 * KEEP
        stream.pass_by(every, lasts, small)


def test_others_are_told_for_whom_a_client_is_kept() -> None:
    farm = Farm()
    farm.join("a", AGENT, (), 0.0)
    farm.submit(Task("busy", "bob", 0.0, Needs(cpu_cores=1)), Note("submitted", "…", "busy"))
    farm.place(0.0)
    farm.submit(Task("patient", "ada", 0.0, Needs(cpu_cores=4)), Note("submitted", "…", "patient"))
    farm.submit(Task("small", "bob", 1.0, Needs(cpu_cores=1)), Note("submitted", "…", "small"))
    farm.place(PATIENCE)
    farm.commit()
    why = explain(farm, farm.tasks["small"])
    assert why.misses[0].reason == "kept free for task patient of ada, which has waited long"
    assert why.misses[0].held_by == (("patient", "ada"),)
    assert not why.starts
    assert farm.place(PATIENCE + 1).commands == ()
    assert farm.place(PATIENCE + KEEP + REVIEW).commands != ()


def test_a_position_counts_turns() -> None:
    farm = Farm()
    for number in range(3):
        for who in ("ada", "bob"):
            task = Task(f"{who}{number}", who, float(number))
            farm.submit(task, Note("submitted", "…", task.id))
    ordered = ["ada0", "bob0", "ada1", "bob1", "ada2", "bob2"]
    assert [farm.position(farm.tasks[name]) for name in ordered] == [1, 2, 3, 4, 5, 6]
    assert farm.position(Task("new", "eve", 9.0)) == 3
    assert farm.position(Task("new", "ada", 9.0, priority=1)) == 2
    farm._queue.usage["ada"] = Usage(1, 0)
    assert farm.position(farm.tasks["ada0"]) == 4
