"""A world around the pure core: a server that does no more than commit and dispatch, agents that
speak the protocol, and contract-only clients. Everything can be lost but what is committed.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from msgspec.structs import replace

from aifarm.core.client import NOTHING, Client, HeldRank, Hold, Outcome, Verdict
from aifarm.core.farm import Farm
from aifarm.core.placement import PATIENCE, Usage, queue_key
from aifarm.core.room import Capacity, class_of
from aifarm.core.task import (
    OWN,
    Assign,
    Cause,
    Checkpointed,
    Command,
    Desired,
    DesiredSet,
    EndpointOpened,
    Launch,
    Look,
    Note,
    Observed,
    Phase,
    RankEnded,
    RankKey,
    State,
    Steer,
    Task,
    Withdraw,
)

# ---------------------------------------------------------------- messages


@dataclass(frozen=True)
class TaskMessage:
    """An assignment as it is when it is sent."""

    key: RankKey
    world_size: int
    desired: Desired
    endpoint: tuple[str, int] | None


@dataclass(frozen=True)
class Ack:
    key: RankKey
    seq: int


@dataclass(frozen=True)
class Welcome:
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class GangStart:
    key: RankKey
    endpoint: tuple[str, int]


ToClient = TaskMessage | Ack | Welcome | GangStart | Steer | Withdraw | Look


# ---------------------------------------------------------------- clients


@dataclass
class Worker:
    """One rank on an agent. `outbox` is on disk: (seq, event) that are not acknowledged."""

    world_size: int
    desired: Desired = Desired.RUNNING
    phase: Phase | None = Phase.ASSIGNED
    endpoint: tuple[str, int] | None = None
    outbox: list[tuple[int, object]] = field(default_factory=list)
    last_seq: int = 0

    def say(self, event: object) -> None:
        self.last_seq += 1
        self.outbox.append((self.last_seq, event))


@dataclass
class Agent:
    name: str
    capacity: Capacity
    environments: dict[str, str] = field(default_factory=dict)
    readable: frozenset[str] = frozenset()
    connected: bool = False
    welcome: bool = False
    inbox: deque[ToClient] = field(default_factory=deque)
    ranks: dict[RankKey, Worker] = field(default_factory=dict)


@dataclass
class Page:
    """A client that knows only the documented messages. `task` is what it believes to have."""

    name: str
    capacity: Capacity
    connected: bool = False
    inbox: deque[ToClient] = field(default_factory=deque)
    task: str | None = None
    paused: bool = False


class World:
    def __init__(self) -> None:
        self.farm = Farm()
        self.now = 0.0
        self.clients: dict[str, Agent | Page] = {}
        self.ended: dict[str, Task] = {}
        self.attempts: dict[str, int] = {}
        self.submitted = 0
        self.dead: set[RankKey] = set()
        self.done: set[RankKey] = set()
        self.places: dict[tuple[str, int], tuple[str, int]] = {}

    # ------------------------------------------------------------ the server

    def batch(
        self, operation: Callable[[], Outcome], answer: Callable[[], object] = lambda: None
    ) -> Outcome:
        """One batch: apply, place, commit; then answer, then send the commands."""
        self.now += 1.0
        outcome = operation()
        before = set(self.farm.holds)
        outcome += self.farm.place(self.now)
        self._check_room(self.farm.holds.keys() - before)
        for task in self.farm.tasks.values():
            assert task.attempt >= self.attempts.get(task.id, 0), task
            self.attempts[task.id] = task.attempt
            if task.final:
                assert task.id not in self.ended, task
                self.ended[task.id] = task
        self.farm.commit()
        answer()
        for command in outcome.commands:
            self._dispatch(command)
        return outcome

    def _dispatch(self, command: Command) -> None:
        client = self.clients[command.client_id]
        if not client.connected:
            return
        if isinstance(command, Look):
            client.inbox.append(command)
            return
        task = self.farm.tasks.get(command.key.task_id)
        current = task is not None and task.attempt == command.key.attempt
        match command:
            case Assign(key=key) if current:
                client.inbox.append(TaskMessage(key, task.world_size, task.desired, task.endpoint))
            case Launch(key=key) if current and isinstance(client, Agent):
                client.inbox.append(GangStart(key, task.endpoint))
            case Steer() | Withdraw():
                client.inbox.append(command)

    def _check_room(self, new: set[RankKey]) -> None:
        """What was given now was free before, also on a client that has shrunk since."""
        for client in self.farm.clients.values():
            given = [self.farm.holds[key] for key in client.holds if key in new]
            older = [self.farm.holds[key] for key in client.holds if key not in new]
            for what in ("cpu_cores", "ram"):
                free = getattr(client.capacity, what) - sum(getattr(hold, what) for hold in older)
                assert sum(getattr(hold, what) for hold in given) <= max(free, 0)
            for gpu in {gpu for hold in given for gpu in hold.gpus}:
                users = [hold for hold in (*older, *given) if gpu in hold.gpus]
                assert len(users) == 1 or all(hold.shared for hold in users), users
                assert sum(hold.gpu_memory for hold in users) <= client.capacity.gpus[gpu]

    def restart_server(self) -> None:
        """SIGKILL: only what was committed is left, and nobody is connected."""
        for client in self.clients.values():
            client.connected = False
            client.inbox.clear()
        old, self.farm = self.farm, Farm()
        self.farm.load(
            old.tasks.values(),
            [
                Client(one.id, speaks=one.speaks, drained=one.drained)
                for one in old.clients.values()
            ],
            old.holds.values(),
        )
        for name in [one.id for one in self.farm.clients.values() if one.holds]:
            self.batch(lambda name=name: self.farm.leave(name, self.now))

    # ------------------------------------------------------------ people

    def submit(self, task: Task) -> None:
        self.submitted += 1
        task = replace(task, id=f"t{self.submitted}", created_at=self.now)
        self.batch(lambda: self.farm.submit(task, Note("submitted", "Submitted.", task.id)))

    def wish(self, task_id: str, desired: Desired) -> None:
        event = DesiredSet(at=self.now, desired=desired, by="ada")
        self.batch(lambda: self.farm.apply(task_id, event))

    # ------------------------------------------------------------ connections

    def add(self, client: Agent | Page) -> None:
        self.clients[client.name] = client
        self.connect(client)

    def connect(self, client: Agent | Page) -> None:
        """A new connection; an old one that is still open is replaced."""
        client.inbox.clear()
        client.connected = True
        if isinstance(client, Page):
            self.batch(lambda: self.farm.meet(client.name, self.now))
            self.batch(lambda: self.farm.resize(client.name, client.capacity) or NOTHING)
            return
        client.welcome = False
        held = [HeldRank(key, worker.phase) for key, worker in client.ranks.items()]
        told: list[Welcome] = []

        def hello() -> Outcome:
            outcome, verdicts = self.farm.join(
                client.name, client.capacity, held, self.now, environments=client.environments
            )
            assert {verdict.key for verdict in verdicts} == client.ranks.keys()
            told.append(Welcome(verdicts))
            return outcome

        self.batch(hello, lambda: client.inbox.extend(told))

    def vanish(self, client: Agent | Page) -> None:
        client.connected = False
        client.inbox.clear()
        if self.farm.clients[client.name].connected:
            self.batch(lambda: self.farm.leave(client.name, self.now))

    def lapse(self, client: Agent | Page) -> None:
        self.batch(lambda: self.farm.lapse(client.name, self.now))

    # ------------------------------------------------------------ agents

    def obey(self, client: Agent | Page) -> None:
        """Takes one message from the server."""
        message = client.inbox.popleft()
        if isinstance(client, Page):
            self._page_obeys(client, message)
            return
        match message:
            case Look(paths=paths):
                seen = {path: path in client.readable for path in paths}
                self.batch(lambda: self.farm.see(client.name, seen) or NOTHING)
            case Welcome(verdicts):
                client.welcome = True
                for verdict in verdicts:
                    self._settle(client, verdict.key, verdict.seq)
                    worker = client.ranks.get(verdict.key)
                    if worker is None:
                        continue
                    if verdict.goes_on:
                        worker.desired = verdict.desired
                    else:
                        self._kill(verdict.key, worker)
            case TaskMessage(key=key) if key in client.ranks:
                worker = client.ranks[key]
                worker.desired = message.desired
                worker.endpoint = message.endpoint or worker.endpoint
            case TaskMessage(key=key):
                worker = Worker(message.world_size, message.desired, endpoint=message.endpoint)
                client.ranks[key] = worker
                self.dead.discard(key)
                if message.world_size > 1 and key.rank == 0:
                    place = self.places[key[:2]] = (client.name, int(self.now))
                    worker.say(("endpoint", place))
            case Ack(key, seq):
                self._settle(client, key, seq)
            case GangStart(key=key, endpoint=endpoint) if key in client.ranks:
                if client.ranks[key].phase is Phase.ASSIGNED:
                    client.ranks[key].endpoint = endpoint
            case Steer(key=key) if key in client.ranks:
                client.ranks[key].desired = message.desired
            case Withdraw(key=key) if key in client.ranks:
                self._kill(key, client.ranks[key])

    def _settle(self, agent: Agent, key: RankKey, seq: int) -> None:
        worker = agent.ranks.get(key)
        if worker is None:
            return
        worker.outbox = [entry for entry in worker.outbox if entry[0] > seq]
        if worker.phase is None and not worker.outbox:
            del agent.ranks[key]

    def _kill(self, key: RankKey, worker: Worker) -> None:
        self.end(key, worker, Cause.STOPPED)
        self.dead.add(key)

    def end(self, key: RankKey, worker: Worker, cause: Cause, cut_off: bool = False) -> None:
        if worker.phase is not None:
            worker.phase = None
            worker.say(("ended", cause, cut_off))
            (self.done if cause is Cause.COMPLETED else self.dead).add(key)

    def act(self, key: RankKey, worker: Worker) -> None:
        """The worker does what it should: starts, holds, goes on, stops."""
        if worker.phase is None:
            return
        if worker.desired is Desired.STOPPED:
            self.end(key, worker, Cause.STOPPED)
        elif worker.phase is not Phase.ASSIGNED or worker.world_size == 1 or worker.endpoint:
            phase = Phase.PAUSED if worker.desired is Desired.PAUSED else Phase.RUNNING
            if worker.phase is not phase:
                worker.phase = phase
                worker.say(("observed", phase))

    def vacate(self, key: RankKey, worker: Worker) -> None:
        """Held for its limit; or a peer of its gang was, and the ranks agree to end."""
        if worker.phase is Phase.PAUSED and worker.desired is Desired.PAUSED:
            self.end(key, worker, Cause.VACATED)

    def finish(self, key: RankKey, worker: Worker) -> None:
        """Trains to the end, which a rank can only where its peers have met it and train too."""
        peers = [key._replace(rank=rank) for rank in range(worker.world_size)]
        if any(peer in self.dead for peer in peers):
            self.end(key, worker, Cause.AGENT_LOST, cut_off=True)
        elif worker.phase is Phase.RUNNING and all(self._trains(peer) for peer in peers):
            self.end(key, worker, Cause.COMPLETED)

    def _trains(self, key: RankKey) -> bool:
        if key in self.done:
            return True
        workers = (c.ranks.get(key) for c in self.clients.values() if isinstance(c, Agent))
        return any(
            worker is not None
            and worker.phase is Phase.RUNNING
            and (worker.world_size == 1 or worker.endpoint == self.places.get(key[:2]))
            for worker in workers
        )

    def crash(self, agent: Agent, told: bool) -> None:
        """The agent and its workers die; it finds out what it ran (`told`), or forgets it."""
        self.vanish(agent)
        for key, worker in list(agent.ranks.items()):
            if worker.phase is None:
                continue
            if told:
                self.end(key, worker, Cause.AGENT_LOST)
            else:
                del agent.ranks[key]
                self.dead.add(key)

    def deliver(self, agent: Agent, key: RankKey, seq: int, event: object) -> None:
        """A message of a rank reaches the server: perhaps again, perhaps too early."""
        acks: list[Ack] = []
        self.batch(
            lambda: self._receive(agent, key, seq, event, acks), lambda: agent.inbox.extend(acks)
        )

    def _receive(
        self, agent: Agent, key: RankKey, seq: int, event: object, acks: list[Ack]
    ) -> Outcome:
        hold = self.farm.holds.get(key)
        if hold is None:
            acks.append(Ack(key, seq))
            return NOTHING
        assert hold.client_id == agent.name
        if (verdict := self.farm.accept(key, seq, seq)) != "new":
            assert (verdict == "gap") == (seq > hold.seq + 1)
            acks.append(Ack(key, hold.seq))
            return NOTHING
        acks.append(Ack(key, seq))
        before = self.farm.tasks.get(key.task_id)
        of = {"at": self.now, "attempt": key.attempt}
        match event:
            case ("endpoint", (address, port)):
                outcome = self.farm.apply(
                    key.task_id, EndpointOpened(**of, address=address, port=port)
                )
            case ("observed", phase):
                outcome = self.farm.apply(key.task_id, Observed(**of, rank=key.rank, phase=phase))
            case ("checkpoint", step):
                outcome = self.farm.apply(key.task_id, Checkpointed(**of, step=step))
            case ("ended", cause, cut_off):
                outcome = self.farm.end_rank(
                    key, RankEnded(**of, rank=key.rank, cause=cause, cut_off=cut_off)
                )
                assert key not in self.farm.holds
        stale = before is None or before.attempt != key.attempt or not before.ranks
        assert outcome.stale == stale
        if stale:
            assert self.farm.tasks.get(key.task_id) is before
            assert not outcome.commands
        return outcome

    # ------------------------------------------------------------ contract-only clients

    def _page_obeys(self, page: Page, message: ToClient) -> None:
        match message:
            case TaskMessage(key=key):
                page.task, page.paused = key.task_id, False
            case Steer(key=key, desired=desired) if key.task_id == page.task:
                page.paused = desired is Desired.PAUSED
                if desired is Desired.STOPPED:
                    page.task = None
            case Withdraw(key=key) if key.task_id == page.task:
                page.task = None

    def ask(self, page: Page) -> None:
        page.task = None
        self.batch(lambda: self.farm.ask(page.name, self.now))

    def _hold_of(self, page: Page) -> Hold | None:
        holds = self.farm.clients[page.name].holds
        keys = [key for key in holds if key.task_id == page.task]
        return self.farm.holds[max(keys)] if keys else None

    def progress(self, page: Page) -> None:
        """Its attempt is implied. What it says of a task that is no longer its own is refused."""
        hold = self._hold_of(page)
        if hold is None:
            page.task = None
            return
        key = hold.key
        task = self.farm.tasks.get(key.task_id)
        if task is None or task.attempt != key.attempt or not task.ranks:
            page.task = None
            return
        phase = task.ranks[key.rank].phase
        phase = Phase.RUNNING if phase is Phase.ASSIGNED else phase
        seen = Observed(at=self.now, attempt=key.attempt, rank=key.rank, phase=phase)
        self.batch(lambda: self.farm.apply(key.task_id, seen))

    def result(self, page: Page, cause: Cause) -> None:
        hold = self._hold_of(page)
        page.task = None
        if hold is not None:
            key = hold.key
            ended = RankEnded(at=self.now, attempt=key.attempt, rank=key.rank, cause=cause)
            self.batch(lambda: self.farm.end_rank(key, ended))

    # ------------------------------------------------------------ calm

    def work(self, finish: bool) -> None:
        """One round: everyone who is connected obeys, acts and reports."""
        for client in list(self.clients.values()):
            self.one_works(client, finish)

    def one_works(self, client: Agent | Page, finish: bool) -> None:
        while client.inbox:
            self.obey(client)
        if not client.connected:
            return
        if isinstance(client, Agent):
            self._agent_works(client, finish)
        elif client.task is None:
            if not self.farm.clients[client.name].asking:
                self.ask(client)
        elif not client.paused:
            self.progress(client)
            if finish and client.task:
                self.result(client, Cause.COMPLETED)

    def _agent_works(self, agent: Agent, finish: bool) -> None:
        for key, worker in list(agent.ranks.items()):
            self.act(key, worker)
            if finish:
                self.finish(key, worker)
            for seq, event in list(worker.outbox):
                self.deliver(agent, key, seq, event)

    def long_wait(self) -> None:
        """Others have passed a task that waits for long enough to have clients kept for it."""
        self.now += PATIENCE
        self.batch(lambda: NOTHING)

    def calm(self, gone: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """All but those who are gone for good come back, obey and finish; there is room enough.

        Every task must end, and whoever is here must hold nothing afterwards.
        """
        room = Capacity(cpu_cores=8, ram=8, gpus=(16, 16))
        builds = {OWN: "1", "cuda": "4"}
        for number in range(3):
            big = Agent(f"big{number}", room, builds, frozenset({"/a", "/b"}))
            for client in (big, Page(f"big-page{number}", room)):
                if client.name not in self.clients:
                    self.add(client)
        for task in list(self.farm.tasks.values()):
            if task.desired is Desired.PAUSED:
                self.wish(task.id, Desired.RUNNING)
        for client in self.clients.values():
            if client.name in gone:
                self.vanish(client)
                self.lapse(client)
                if isinstance(client, Agent):
                    self.dead.update(client.ranks.keys() - self.done)
            elif not client.connected:
                self.connect(client)
            self.batch(lambda client=client: self.farm.drain(client.name, None))
            self.batch(lambda client=client: self.farm.lend(client.name, True))
        for _ in range(40 + 4 * len(self.farm.tasks)):
            self.work(finish=True)
            if not self.farm.tasks:
                break
        assert not self.farm.tasks, (list(self.farm.tasks.values()), self.clients)
        assert len(self.ended) == self.submitted
        for _ in range(3):
            self.work(finish=True)
        assert {hold.client_id for hold in self.farm.holds.values()} <= gone

    # ------------------------------------------------------------ what always holds

    def check(self) -> None:
        farm = self.farm
        listed = {key: client.id for client in farm.clients.values() for key in client.holds}
        assert listed == {key: hold.client_id for key, hold in farm.holds.items()}
        assert sum(len(client.holds) for client in farm.clients.values()) == len(listed)
        live = dict(_live_ranks(farm))
        for key, (client_id, gpus) in live.items():
            assert (farm.holds[key].client_id, farm.holds[key].gpus) == (client_id, gpus)
        self._check_queue(live.keys() & farm.holds.keys())
        self._check_contact()
        assert not self.ended.keys() & farm.tasks.keys()
        assert len(self.ended) + len(farm.tasks) == self.submitted
        assert farm.reserved or not farm.plan(self.now).placements, "it would fit"

    def _check_queue(self, live: set[RankKey]) -> None:
        queues: dict = {}
        usage: dict[str, Usage] = {}
        for task in self.farm.tasks.values():
            if task.waiting:
                by_submitter = queues.setdefault(class_of(task), {})
                by_submitter.setdefault(task.submitter, []).append(queue_key(task))
                by_submitter[task.submitter].sort()
        for key in live:
            hold, task = self.farm.holds[key], self.farm.tasks[key.task_id]
            if not task.revocable:
                used = usage.get(hold.submitter, Usage())
                gpus, cores = used.gpus + len(hold.gpus), used.cpu_cores + hold.cpu_cores
                usage[hold.submitter] = Usage(gpus, cores)
        assert self.farm._queue.classes == queues
        assert self.farm._queue.usage == {
            name: used for name, used in usage.items() if used != Usage()
        }

    def _check_contact(self) -> None:
        for task in self.farm.tasks.values():
            if task.revocable:
                (rank,) = task.ranks
                assert rank.lost
            for rank in task.ranks:
                client = self.farm.clients[rank.client_id]
                if rank.ended:
                    assert not rank.lost
                elif not client.connected or client.speaks == "agent":
                    assert rank.lost is not client.connected, (task, client)
                if task.state is State.ASSIGNED:
                    assert not rank.lost


def _live_ranks(farm: Farm) -> Iterator[tuple[RankKey, tuple[str, tuple[int, ...]]]]:
    """The ranks of every task's current attempt that have not ended."""
    for task in farm.tasks.values():
        for number, rank in enumerate(task.ranks):
            if not rank.ended:
                yield RankKey(task.id, task.attempt, number), (rank.client_id, rank.gpus)


def snapshot(farm: Farm) -> object:
    """All that a rollback must restore."""
    return (
        dict(farm.tasks),
        dict(farm.clients),
        dict(farm.holds),
        {kind: {who: list(q) for who, q in by.items()} for kind, by in farm._queue.classes.items()},
        dict(farm._queue.usage),
        dict(farm._paths._needed),
    )
