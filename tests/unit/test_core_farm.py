"""The pure farm among simulated clients: whatever happens, it stays consistent, and once the
world is calm every task ends.
"""

import dataclasses

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from aifarm.core.client import NOTHING, HeldRank
from aifarm.core.room import Capacity
from aifarm.core.task import (
    OWN,
    Cause,
    Desired,
    DesiredSet,
    Needs,
    Note,
    Phase,
    RankEnded,
    RankKey,
    Task,
)
from core_world import Agent, Page, Worker, World, snapshot

capacities = st.builds(
    Capacity,
    cpu_cores=st.sampled_from([2, 4, 6]),
    ram=st.sampled_from([2, 4, 6]),
    gpus=st.lists(st.sampled_from([4, 8, 16]), max_size=2).map(tuple),
)


def possible(task: Task) -> Task:
    """What only contract-only clients may take can ask for no more than they have."""
    if task.packaged:
        return task
    return replace(task, processes=1, needs=replace(task.needs, environment=OWN, reads=()))


new_tasks = st.builds(
    Task,
    id=st.just(""),
    submitter=st.sampled_from(["ada", "bob"]),
    created_at=st.just(0.0),
    needs=st.builds(
        Needs,
        st.sampled_from([0, 0, 4, 8]),
        st.integers(0, 2),
        st.integers(0, 2),
        environment=st.sampled_from([OWN, OWN, "cuda"]),
        reads=st.sampled_from([(), (), ("/a",), ("/a", "/b")]),
    ),
    processes=st.sampled_from([1, 1, 2]),
    n_clients=st.sampled_from([1, 1, 2, 3]),
    priority=st.integers(-1, 1),
    share_gpu=st.booleans(),
    retries=st.integers(0, 1),
    packaged=st.sampled_from([True, True, True, False]),
).map(possible)
agents = st.builds(
    Agent,
    st.just(""),
    capacities,
    st.sampled_from([{}, {OWN: "1"}, {OWN: "2", "cuda": "3"}, {OWN: "1", "cuda": "4"}]),
    st.sampled_from([frozenset(), frozenset({"/a"}), frozenset({"/a", "/b"})]),
)
bad_ends = st.sampled_from(
    [Cause.USER_ERROR, Cause.OUT_OF_MEMORY, Cause.AGENT_LOST, Cause.OWNER_RETURNED, Cause.STOPPED]
)


class FarmMachine(RuleBasedStateMachine):
    """Rules draw from `data` what exists at that moment."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.gone: set[str] = set()

    @initialize(
        agents=st.lists(agents, min_size=3, max_size=4),
        pages=st.lists(capacities, max_size=2),
        tasks=st.lists(new_tasks, min_size=2, max_size=5),
        gone=st.sets(st.integers(0, 3), max_size=2),
    )
    def begin(
        self, agents: list[Agent], pages: list[Capacity], tasks: list[Task], gone: set[int]
    ) -> None:
        for number, agent in enumerate(agents):
            self.world.add(dataclasses.replace(agent, name=f"agent{number}"))
        for number, capacity in enumerate(pages):
            self.world.add(Page(f"page{number}", capacity))
        self.gone = {list(self.world.clients)[number % len(self.world.clients)] for number in gone}
        self.submit(tasks)
        for _ in range(3):
            self.world.work(finish=False)

    # ------------------------------------------------------------ what may be drawn

    def some(self, data: st.DataObject, kind: type | None = None) -> Agent | Page | None:
        names = [
            name
            for name, client in self.world.clients.items()
            if kind is None or isinstance(client, kind)
        ]
        return self.world.clients[data.draw(st.sampled_from(names))] if names else None

    def some_worker(self, data: st.DataObject) -> tuple[Agent, RankKey, Worker]:
        all_of_them = [
            (client.name, key)
            for client in self.world.clients.values()
            if isinstance(client, Agent)
            for key in client.ranks
        ]
        name, key = data.draw(st.sampled_from(all_of_them))
        agent = self.world.clients[name]
        return agent, key, agent.ranks[key]

    def some_task(self, data: st.DataObject) -> str | None:
        return data.draw(st.sampled_from(list(self.world.farm.tasks))) if self.has_tasks() else None

    def has_tasks(self) -> bool:
        return bool(self.world.farm.tasks)

    def has_workers(self) -> bool:
        return any(isinstance(c, Agent) and c.ranks for c in self.world.clients.values())

    # ------------------------------------------------------------ people

    @rule()
    def long_wait(self) -> None:
        self.world.long_wait()

    @rule(tasks=st.lists(new_tasks, min_size=1, max_size=3))
    def submit(self, tasks: list[Task]) -> None:
        for task in tasks:
            self.world.submit(task)

    @precondition(has_tasks)
    @rule(data=st.data(), desired=st.sampled_from(Desired))
    def wish(self, data: st.DataObject, desired: Desired) -> None:
        self.world.wish(self.some_task(data), desired)

    @rule(data=st.data(), reason=st.sampled_from(["repairs", None]))
    def drain(self, data: st.DataObject, reason: str | None) -> None:
        client = self.some(data)
        self.world.batch(lambda: self.world.farm.drain(client.name, reason))

    @rule(data=st.data(), lends=st.booleans())
    def lend(self, data: st.DataObject, lends: bool) -> None:
        client = self.some(data)
        self.world.batch(lambda: self.world.farm.lend(client.name, lends))

    # ------------------------------------------------------------ clients come and go

    @rule(data=st.data(), lapse=st.booleans())
    def vanish(self, data: st.DataObject, lapse: bool) -> None:
        client = self.some(data)
        self.world.vanish(client)
        if lapse:
            self.world.lapse(client)

    @rule(data=st.data())
    def connect(self, data: st.DataObject) -> None:
        self.world.connect(self.some(data))

    @rule(data=st.data())
    def lapse(self, data: st.DataObject) -> None:
        self.world.lapse(self.some(data))

    @rule(data=st.data(), capacity=capacities)
    def resize(self, data: st.DataObject, capacity: Capacity) -> None:
        client = self.some(data)
        if client.connected:
            client.capacity = capacity
            self.world.batch(lambda: self.world.farm.resize(client.name, capacity) or NOTHING)

    @rule(data=st.data(), told=st.booleans())
    def crash(self, data: st.DataObject, told: bool) -> None:
        client = self.some(data)
        if isinstance(client, Agent):
            self.world.crash(client, told)
        else:
            self.world.vanish(client)
            client.task = None

    @rule()
    def restart_server(self) -> None:
        self.world.restart_server()

    # ------------------------------------------------------------ messages

    @rule(data=st.data())
    def obey(self, data: st.DataObject) -> None:
        client = self.some(data)
        if client.inbox:
            self.world.obey(client)

    @precondition(has_workers)
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """Any message not yet acknowledged: again, or too early."""
        agent, key, worker = self.some_worker(data)
        if agent.connected and agent.welcome and worker.outbox:
            seq = data.draw(st.sampled_from([seq for seq, _ in worker.outbox]))
            self.world.deliver(agent, key, seq, dict(worker.outbox)[seq])

    @rule()
    def work(self) -> None:
        self.world.work(finish=False)

    @rule(data=st.data(), finish=st.booleans())
    def one_works(self, data: st.DataObject, finish: bool) -> None:
        self.world.one_works(self.some(data), finish)

    # ------------------------------------------------------------ workers

    @precondition(has_workers)
    @rule(data=st.data(), checkpoint=st.booleans())
    def act(self, data: st.DataObject, checkpoint: bool) -> None:
        _, key, worker = self.some_worker(data)
        if checkpoint and worker.phase is Phase.RUNNING:
            worker.say(("checkpoint", 1))
        else:
            self.world.act(key, worker)

    @precondition(has_workers)
    @rule(data=st.data(), cause=bad_ends, cut_off=st.booleans())
    def end_badly(self, data: st.DataObject, cause: Cause, cut_off: bool) -> None:
        _, key, worker = self.some_worker(data)
        if cut_off and worker.world_size > 1:
            self.world.end(key, worker, Cause.AGENT_LOST, cut_off=True)
        else:
            self.world.end(key, worker, cause)

    @precondition(has_workers)
    @rule(data=st.data())
    def vacate(self, data: st.DataObject) -> None:
        _, key, worker = self.some_worker(data)
        self.world.vacate(key, worker)

    @rule(data=st.data(), what=st.sampled_from(["ask", "progress", "completed", "failed"]))
    def page_speaks(self, data: st.DataObject, what: str) -> None:
        page = self.some(data, Page)
        if page is None or not page.connected:
            return
        if what == "ask":
            self.world.ask(page)
        elif page.task and what == "progress":
            self.world.progress(page)
        elif page.task:
            self.world.result(page, Cause.COMPLETED if what == "completed" else Cause.USER_ERROR)

    # ------------------------------------------------------------ batches that never were

    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        """Any suffix of a batch that is undone leaves what was before it."""
        farm = self.world.farm
        before = snapshot(farm)
        self._operations(data)
        mark, middle = farm.savepoint(), snapshot(farm)
        self._operations(data)
        farm.rollback(mark)
        assert snapshot(farm) == middle
        farm.rollback()
        assert snapshot(farm) == before
        self.world.batch(lambda: NOTHING)

    def _operations(self, data: st.DataObject) -> None:
        """A few on everything there is, whether or not it makes sense now."""
        farm, at = self.world.farm, self.world.now
        for what in data.draw(st.lists(st.sampled_from(sorted(_OPERATIONS)), max_size=4)):
            client_id = data.draw(st.sampled_from(sorted(farm.clients))) if farm.clients else None
            key = data.draw(st.sampled_from(sorted(farm.holds))) if farm.holds else None
            task_id = self.some_task(data)
            _OPERATIONS[what](farm, at, client_id, key, task_id)

    # ------------------------------------------------------------ always, and in the end

    @invariant()
    def consistent(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        self.world.calm(self.gone)
        self.world.check()


_OPERATIONS = {
    "submit": lambda farm, at, client, key, task: farm.submit(
        Task("new", "eve", at, Needs(4)), Note("submitted", "Submitted.", "new")
    ),
    "pause": lambda farm, at, client, key, task: (
        task and farm.apply(task, DesiredSet(at=at, desired=Desired.PAUSED, by="ada"))
    ),
    "stop": lambda farm, at, client, key, task: (
        task and farm.apply(task, DesiredSet(at=at, desired=Desired.STOPPED, by="ada"))
    ),
    "place": lambda farm, at, client, key, task: farm.place(at),
    "join": lambda farm, at, client, key, task: farm.join(
        client or "newcomer", Capacity(4, 4, (8,)), [HeldRank(key, None)] if key else [], at
    ),
    "meet": lambda farm, at, client, key, task: farm.meet(client or "newcomer", at),
    "ask": lambda farm, at, client, key, task: client and farm.ask(client, at),
    "leave": lambda farm, at, client, key, task: client and farm.leave(client, at),
    "lapse": lambda farm, at, client, key, task: client and farm.lapse(client, at),
    "drain": lambda farm, at, client, key, task: client and farm.drain(client, "why not"),
    "reclaim": lambda farm, at, client, key, task: client and farm.lend(client, False),
    "lose": lambda farm, at, client, key, task: key and farm.lose_rank(key, "lost.", at),
    "accept": lambda farm, at, client, key, task: key and farm.accept(key, 1, 3),
    "end": lambda farm, at, client, key, task: (
        key
        and farm.end_rank(
            key, RankEnded(at=at, attempt=key.attempt, rank=key.rank, cause=Cause.AGENT_LOST)
        )
    ),
}


class TestFarm(FarmMachine.TestCase):
    settings = settings(settings.get_profile("ci"), max_examples=120, stateful_step_count=50)


@pytest.mark.slow
@pytest.mark.timeout(900)
class TestFarmForLong(FarmMachine.TestCase):
    settings = settings(settings.get_profile("deep"), max_examples=1_000, stateful_step_count=80)
