"""All tasks and clients, and how an event on one touches the other.

The one writer applies events here, writes what changed in one transaction, and then either
`commit`s (the changes stand) or `rollback`s (they never were). What others read are the immutable
values that came out of a commit, never this object.
"""

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any, Literal

from msgspec.structs import replace

from aifarm.core.client import NOTHING, Client, HeldRank, Hold, Outcome, Verdict
from aifarm.core.ledger import Ledger
from aifarm.core.lifecycle import step
from aifarm.core.paths import Paths
from aifarm.core.placement import Plan, Reservation, plan
from aifarm.core.queue import Queue
from aifarm.core.room import Capacity, Environments, Room, own_alone
from aifarm.core.task import (
    Assign,
    Cause,
    Command,
    ContactBack,
    ContactLost,
    Desired,
    DesiredSet,
    LeaseLapsed,
    Look,
    Note,
    Observed,
    Phase,
    Placed,
    RankEnded,
    RankKey,
    RankLost,
    Steer,
    Task,
    TaskEvent,
    Withdraw,
)

DRAIN_AFTER = 3
"""Attempts in a row that a client may be unable to run before it is drained (FAULTS row 31)."""

REVIEW = 60.0
"""Seconds after which it is looked again whether clients are to be kept for a task."""


_AS_DESIRED: dict[Desired, tuple[Phase, ...]] = {
    Desired.RUNNING: (Phase.ASSIGNED, Phase.RUNNING),
    Desired.PAUSED: (Phase.PAUSED,),
    Desired.STOPPED: (),
}
"""Phases of a live rank that need no control."""


def _can_start_over(task: Task, key: RankKey) -> bool:
    """Whether a rank that its agent does not know may be assigned again in the same attempt.

    It must never have run; and where rank 0 has told its peers to meet at a place that is gone
    with its agent, they would wait there for ever.
    """
    met = key.rank == 0 and task.endpoint is not None
    return task.ranks[key.rank].phase is Phase.ASSIGNED and not met


class Farm:
    """Tasks that are not final, clients, and the holds that tie them. Mutated by one writer."""

    def __init__(self) -> None:
        self._queue = Queue()
        self._paths = Paths()
        self.ledger = Ledger(self._write)
        self._unplanned = False
        self._review_at = inf
        self.reserved: Reservation | None = None
        """What the last plan keeps free, and for which waiting task."""
        self.tasks: dict[str, Task] = {}
        self.clients: dict[str, Client] = {}
        self.holds: dict[RankKey, Hold] = {}

    # ------------------------------------------------------------ writing

    def load(self, tasks: Iterable[Task], clients: Iterable[Client], holds: Iterable[Hold]) -> None:
        """The state after a restart: nobody is connected, and who holds ranks is to `leave`."""
        for client in clients:
            self._put(self.clients, client.id, replace(client, connected=False, asking=False))
        for task in tasks:
            self._put(self.tasks, task.id, task)
        for hold in holds:
            self._hold(hold)
        self.commit()

    def commit(self) -> frozenset[str]:
        """Makes everything since the last commit final. Returns the ids of tasks that changed.

        Tasks that reached their end leave the memory here.
        """
        changed = frozenset(key for table, key in self.ledger.touched() if table is self.tasks)
        self.ledger.clear()
        for task_id in changed:
            if self.tasks[task_id].final:
                del self.tasks[task_id]
        return changed

    def savepoint(self) -> int:
        return self.ledger.mark()

    def rollback(self, mark: int = 0) -> None:
        """Undoes everything since `mark`, in reverse order."""
        self.ledger.rollback(mark)
        self._unplanned = True

    def _put(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        self.ledger.put(table, key, value)

    def _write(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        before = table.get(key)
        if table is self.tasks:
            self._queue.move(before, value)
            self._paths.move(before, value)
            kept = self.reserved is not None and self.reserved.task_id == key
            self._unplanned |= kept or (value is not None and value.waiting)
        elif table is self.clients:
            self._unplanned = True
        if value is None:
            table.pop(key, None)
        else:
            table[key] = value

    def _hold(self, hold: Hold) -> None:
        client = self.clients[hold.client_id]
        self._put(self.holds, hold.key, hold)
        self._put(self.clients, client.id, replace(client, holds=(*client.holds, hold.key)))

    def _release(self, key: RankKey) -> None:
        hold = self.holds.get(key)
        if hold is None:
            return
        client = self.clients[hold.client_id]
        rest = tuple(other for other in client.holds if other != key)
        self._put(self.holds, key, None)
        self._put(self.clients, client.id, replace(client, holds=rest))

    # ------------------------------------------------------------ tasks

    def submit(self, task: Task, note: Note) -> Outcome:
        new = self._paths.new(task)
        self._put(self.tasks, task.id, task)
        agents = [c.id for c in self.clients.values() if c.connected and c.speaks == "agent"]
        return Outcome(tuple(Look(agent, new) for agent in agents if new), (note,))

    def apply(self, task_id: str, event: TaskEvent) -> Outcome:
        """One event on one task. An event of an attempt that is over is `stale`: no effect."""
        task = self.tasks.get(task_id)
        if task is None:
            return Outcome(stale=True)
        result = step(task, event)
        if result.task is not task:
            self._put(self.tasks, task_id, result.task)
        outcome = Outcome(result.commands, result.notes, result.stale)
        if isinstance(event, DesiredSet):
            outcome += self._obey(outcome.commands, event.at)
        return outcome

    def end_rank(self, key: RankKey, event: RankEnded) -> Outcome:
        """A rank's worker is gone, of whatever attempt: what it held is free again."""
        hold = self.holds.get(key)
        if hold is None:
            return Outcome(stale=True)
        outcome = self.apply(key.task_id, event)
        self._release(key)
        if outcome.stale or event.cut_off:
            return outcome
        return outcome + self._blame(hold.client_id, event.cause)

    def lose_rank(self, key: RankKey, message: str, at: float) -> Outcome:
        """As `end_rank`, for a worker that ended without a word."""
        outcome = self.apply(
            key.task_id, RankLost(at=at, attempt=key.attempt, rank=key.rank, message=message)
        )
        self._release(key)
        return outcome

    def accept(self, key: RankKey, seq: int, seq_to: int) -> Literal["new", "seen", "gap"]:
        """Whether a message of this rank is the next one; if so, its number is taken."""
        hold = self.holds.get(key)
        if hold is None or seq_to <= hold.seq:
            return "seen"
        if seq > hold.seq + 1:
            return "gap"
        self._put(self.holds, key, replace(hold, seq=seq_to))
        return "new"

    def place(self, at: float) -> Outcome:
        """Gives waiting tasks to clients, as many as fit. Free when nothing changed since."""
        if not (self._unplanned or at >= self._review_at):
            return NOTHING
        outcome = NOTHING
        planned = self.plan(at)
        self.reserved = planned.reserved
        self._review_at = at + REVIEW if planned.reserved else inf
        for placement in planned.placements:
            outcome += self.apply(placement.task_id, Placed(at=at, ranks=placement.ranks))
            task = self.tasks[placement.task_id]
            for number, rank in enumerate(task.ranks):
                self._hold(
                    Hold(
                        key=RankKey(task.id, task.attempt, number),
                        client_id=rank.client_id,
                        submitter=task.submitter,
                        cpu_cores=task.needs.cpu_cores,
                        ram=task.needs.ram,
                        gpus=rank.gpus,
                        gpu_memory=task.needs.gpu_memory,
                        shared=task.share_gpu,
                    )
                )
                client = self.clients[rank.client_id]
                if client.asking:
                    self._put(self.clients, client.id, replace(client, asking=False))
        self._unplanned = False
        return outcome

    # ------------------------------------------------------------ clients

    def join(
        self,
        client_id: str,
        capacity: Capacity,
        held: Iterable[HeldRank],
        at: float,
        lends: bool = True,
        environments: Environments | None = None,
    ) -> tuple[Outcome, tuple[Verdict, ...]]:
        """An agent said hello: what it still knows is held against what it should.

        It is asked anew for all paths that tasks need.
        """
        before = self.clients.get(client_id) or Client(client_id)
        joined = replace(
            before,
            capacity=capacity,
            speaks="agent",
            connected=True,
            asking=False,
            lends=lends,
            environments=environments or own_alone(),
            paths={},
        )
        self._put(self.clients, client_id, joined)
        known = {rank.key: rank.phase for rank in held}
        outcome = Outcome(tuple(Look(client_id, some) for some in self._paths.all()))
        verdicts = []
        for key in joined.holds:
            task = self._current(key)
            if task is None:
                if key not in known:
                    self._release(key)
            elif key in known:
                outcome += self._contact(key, at) + self._catch_up(task, key, known[key], at)
            elif _can_start_over(task, key):
                outcome += self._contact(key, at) + Outcome((Assign(client_id, key),))
            else:
                words = f"{client_id} restarted, and the worker was gone."
                outcome += self.lose_rank(key, words, at)
        for key in known:
            hold = self.holds.get(key) if key in joined.holds else None
            task = self._current(key) if hold else None
            verdicts.append(
                Verdict(
                    key,
                    goes_on=task is not None,
                    seq=hold.seq if hold else 0,
                    desired=task.desired if task else Desired.STOPPED,
                )
            )
        return outcome, tuple(verdicts)

    def _current(self, key: RankKey) -> Task | None:
        """The task, if it is this attempt of it that counts."""
        task = self.tasks.get(key.task_id)
        current = task and task.attempt == key.attempt and task.ranks and not task.final
        return task if current else None

    def _contact(self, key: RankKey, at: float) -> Outcome:
        return self.apply(key.task_id, ContactBack(at=at, attempt=key.attempt, rank=key.rank))

    def _catch_up(self, task: Task, key: RankKey, phase: Phase | None, at: float) -> Outcome:
        """What happened to a rank, and what its client was not told, while contact was lost. Its
        agent may be another one, which only knows that it had begun to fetch what the rank needs.
        """
        if phase in (Phase.RUNNING, Phase.PAUSED):
            seen = Observed(at=at, attempt=key.attempt, rank=key.rank, phase=phase)
            return self.apply(key.task_id, seen)
        if phase is Phase.ASSIGNED:
            return Outcome((Assign(task.ranks[key.rank].client_id, key),))
        return NOTHING

    def meet(self, client_id: str, at: float) -> Outcome:
        """A client that speaks only the documented messages is connected.

        What it could not be told while it was away is sent now: that a task of its moved on
        without it, or what was wished of it.
        """
        client = self.clients.get(client_id) or Client(client_id)
        met = replace(client, speaks="contract", connected=True)
        if met == client:
            return NOTHING
        self._put(self.clients, client_id, met)
        if client.connected or client.speaks != "contract":
            return NOTHING
        outcome = NOTHING
        for key in met.holds:
            task = self._current(key)
            if task is None:
                self._release(key)
                outcome += Outcome((Withdraw(client_id, key),))
            elif task.ranks[key.rank].phase not in _AS_DESIRED[task.desired]:
                missed = (Steer(client_id, key, task.desired),)
                outcome += Outcome(missed) + self._obey(missed, at)
        return outcome

    def ask(self, client_id: str, at: float) -> Outcome:
        """A contract-only client asks for a task, and so gives up the one it had, if any."""
        outcome = NOTHING
        for key in self.clients[client_id].holds:
            words = f"{client_id} asked for a new task and so gave this one up."
            outcome += replace(self.lose_rank(key, words, at), stale=False)
        self._put(self.clients, client_id, replace(self.clients[client_id], asking=True))
        return outcome

    def leave(self, client_id: str, at: float) -> Outcome:
        """The connection closed: workers may well go on."""
        client = self.clients[client_id]
        self._put(self.clients, client_id, replace(client, connected=False, asking=False))
        return self._each_rank(client, ContactLost, at)

    def lapse(self, client_id: str, at: float) -> Outcome:
        """The lease ended while the client was away."""
        client = self.clients[client_id]
        if client.connected:
            return NOTHING
        return self._each_rank(client, LeaseLapsed, at)

    def _each_rank(
        self, client: Client, event: type[ContactLost] | type[LeaseLapsed], at: float
    ) -> Outcome:
        outcome = NOTHING
        for key in client.holds:
            happened = event(at=at, attempt=key.attempt, rank=key.rank)
            told = self.apply(key.task_id, happened)
            outcome += replace(told, stale=False)
        return outcome

    def resize(self, client_id: str, capacity: Capacity) -> None:
        client = self.clients[client_id]
        if client.capacity != capacity:
            self._put(self.clients, client_id, replace(client, capacity=capacity))

    def see(self, client_id: str, paths: Mapping[str, bool]) -> None:
        """An agent says whether it can read these paths. What it runs is not touched."""
        client = self.clients[client_id]
        told = {**client.paths, **paths}
        seen = {path: told[path] for path in told if self._paths.needed(path)}
        if client.paths != seen:
            self._put(self.clients, client_id, replace(client, paths=seen))

    def lend(self, client_id: str, lends: bool) -> Outcome:
        """The owner takes the client back, or lends it again. What it runs is not touched."""
        client = self.clients[client_id]
        if client.lends == lends:
            return NOTHING
        self._put(self.clients, client_id, replace(client, lends=lends))
        words = "is lent again" if lends else "takes no new tasks: its owner has taken it back"
        kind = "lent" if lends else "reclaimed"
        return Outcome(notes=(Note(kind, f"{client_id} {words}.", None, client_id),))

    def forget(self, client_id: str) -> None:
        """A client that is away and holds nothing is no part of the farm any more."""
        self._put(self.clients, client_id, None)

    def drain(self, client_id: str, reason: str | None) -> Outcome:
        """No new work for this client while there is a reason; None lends it again."""
        client = self.clients[client_id]
        self._put(self.clients, client_id, replace(client, drained=reason, failures=0))
        words = f"{client_id} takes no new tasks: {reason}" if reason else f"{client_id} is back."
        return Outcome(notes=(Note("drained" if reason else "undrained", words, None, client_id),))

    def _blame(self, client_id: str, cause: Cause) -> Outcome:
        """Counts what the machine may be to blame for: an error of the task's own code is not."""
        client = self.clients[client_id]
        if cause is Cause.COMPLETED and client.failures:
            self._put(self.clients, client_id, replace(client, failures=0))
        if cause is not Cause.AGENT_LOST:
            return NOTHING
        failures = client.failures + 1
        self._put(self.clients, client_id, replace(client, failures=failures))
        if failures < DRAIN_AFTER or client.drained:
            return NOTHING
        return self.drain(client_id, f"it could not run {failures} attempts in a row.")

    def _obey(self, commands: tuple[Command, ...], at: float) -> Outcome:
        """A control sent to a contract-only client counts as obeyed: it cannot answer."""
        outcome = NOTHING
        phases = {Desired.RUNNING: Phase.RUNNING, Desired.PAUSED: Phase.PAUSED}
        for command in commands:
            if not isinstance(command, Steer):
                continue
            client = self.clients[command.client_id]
            if client.speaks != "contract" or not client.connected:
                continue
            key = command.key
            if command.desired is Desired.STOPPED:
                ended = RankEnded(at=at, attempt=key.attempt, rank=key.rank, cause=Cause.STOPPED)
                outcome += self.end_rank(key, ended)
            elif self.tasks[key.task_id].ranks[key.rank].phase is not Phase.ASSIGNED:
                phase = phases[command.desired]
                seen = Observed(at=at, attempt=key.attempt, rank=key.rank, phase=phase)
                outcome += self.apply(key.task_id, seen)
        return outcome

    # ------------------------------------------------------------ reading

    def plan(self, at: float) -> Plan:
        """What `place` would do now."""
        if not self._queue.classes:
            return Plan([])
        rooms = {c.id: self.room(c) for c in self.clients.values() if c.placeable}
        return plan(self._queue.classes, rooms, self._queue.usage, at, self._wholes)

    def _wholes(self) -> list[Room]:
        """Clients that get work now or when they are free, as if they held nothing."""
        return [client.whole for client in self.clients.values() if client.serves]

    def position(self, task: Task) -> int | None:
        """See `Queue.position`."""
        return self._queue.position(task)

    def room(self, client: Client, without: str | None = None) -> Room:
        """What is free on a client, what it holds taken off. Never below zero.

        `without`: a task that is not counted, as if it had ended.
        """
        had = client.capacity
        gpus = {i: memory for i, memory in enumerate(had.gpus) if i not in had.held}
        shared: dict[int, int] = {}
        cores, ram = client.capacity.cpu_cores, client.capacity.ram
        for key in client.holds:
            if key.task_id == without:
                continue
            hold = self.holds[key]
            cores -= hold.cpu_cores
            ram -= hold.ram
            for gpu in hold.gpus:
                whole = gpus.pop(gpu, None)
                if hold.shared and (whole is not None or gpu in shared):
                    shared[gpu] = shared.get(gpu, whole or 0) - hold.gpu_memory
        return Room(
            client_id=client.id,
            cpu_cores=max(cores, 0),
            ram=max(ram, 0),
            gpus=gpus,
            shared=shared,
            ranks=len(client.holds),
            fetches_only=client.speaks == "contract",
            environments=client.environments,
            paths=client.paths,
        )
