"""Which waiting task goes to which clients. Pure and deterministic: same snapshot, same plan.

Queue order (DESIGN section 5): the submitter with the fewest running GPUs, then cores, first;
among that submitter's own tasks priority, then age. Tasks of equal requirements form a class: if
the head of a class fits nowhere, none of the class does, so a round looks at heads only. A gang
gets all its clients or none; smaller tasks behind it may go ahead, but not for ever: once it has
waited for PATIENCE, what it needs is kept free for it (FAULTS row 25).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from msgspec import Struct

from aifarm.core.room import Room, TaskClass, choose_gpus, keep_back, missing, most, take
from aifarm.core.task import Rank, Task

PATIENCE = 600.0
"""Seconds that a task may wait while others pass it."""

KEEP = 3600.0
"""Seconds for which clients are kept for a task, and then again are not: what it waits for there
may take weeks, and half of the time others should have the use of what is free."""


class QueueKey(NamedTuple):
    """Order within one submitter's tasks of one class."""

    urgency: int
    created_at: float
    task_id: str


class Usage(NamedTuple):
    """What a submitter's tasks hold now."""

    gpus: int = 0
    cpu_cores: int = 0


class Placement(Struct, frozen=True):
    task_id: str
    ranks: tuple[Rank, ...]


class Reservation(NamedTuple):
    """Clients on which nobody may take what a task needs that has waited for long."""

    task_id: str
    kind: TaskClass
    client_ids: frozenset[str]


class Plan(NamedTuple):
    """`reserved`: for one task at most, so that no two of them wait for each other's clients."""

    placements: list[Placement]
    reserved: Reservation | None = None


Queues = Mapping[TaskClass, Mapping[str, Sequence[QueueKey]]]
"""Waiting tasks: class, then submitter, then in order."""


def queue_key(task: Task) -> QueueKey:
    return QueueKey(-task.priority, task.created_at, task.id)


def plan(
    queues: Queues,
    rooms: Mapping[str, Room],
    usage: Mapping[str, Usage],
    at: float = 0.0,
    wholes: Callable[[], Iterable[Room]] = tuple,
) -> Plan:
    """Places until nothing more fits. Changes none of its arguments.

    `wholes`: every client that may be given work now or once it is free, as if it held nothing;
    asked for only where a task has waited for long. Cost: for each placement, and once for each
    class that fits nowhere, a look at each submitter and at each client; a class that asks for more
    than any client has free costs no look at the clients.
    """
    left = dict(rooms)
    used = dict(usage)
    lines = _Lines(queues)
    cores = max((room.cpu_cores for room in rooms.values()), default=0)
    ram = max((room.ram for room in rooms.values()), default=0)
    placements: list[Placement] = []
    reserved: Reservation | None = None
    while head := lines.head(used):
        kind, submitter, key = head
        needs, ranks = kind.needs, kind.at_least
        fits = needs.cpu_cores * ranks <= cores and needs.ram * ranks <= ram
        chosen = _choose_clients(left.values(), kind) if fits else None
        if chosen is None:
            lines.close(kind)
            if reserved is None and _is_kept_for(at - key.created_at):
                kept = _choose_wholes(wholes(), left, kind)
                reserved = Reservation(key.task_id, kind, kept) if kept else None
                for client_id in kept & left.keys():
                    left[client_id] = keep_back(left[client_id], kind)
            continue
        lines.advance(submitter)
        placed: list[Rank] = []
        each = min(most(room, kind) for room in chosen)
        for room in chosen:
            gpus = choose_gpus(room, kind, each)
            left[room.client_id] = take(room, kind, gpus, each)
            if room.fetches_only:
                del left[room.client_id]
            placed += [Rank(room.client_id, tuple(gpus[n : n + 1])) for n in range(each)]
        before = used.get(submitter, Usage())
        used[submitter] = Usage(
            before.gpus + sum(len(rank.gpus) for rank in placed),
            before.cpu_cores + needs.cpu_cores * len(placed),
        )
        placements.append(Placement(key.task_id, tuple(placed)))
    return Plan(placements, reserved)


def _is_kept_for(age: float) -> bool:
    """Whether a task that has waited so many seconds may have clients kept for it."""
    return age >= PATIENCE and (age - PATIENCE) % (2 * KEEP) < KEEP


def _choose_wholes(
    wholes: Iterable[Room], left: Mapping[str, Room], kind: TaskClass
) -> frozenset[str]:
    """The `n_clients` clients that lack least of what `kind` needs; empty if there are too few.

    What is kept for a task makes its clients lack less and less, so the choice is a steady one.
    """

    def lack(whole: Room) -> tuple[bool, bool, int, int, str]:
        room = left.get(whole.client_id)
        if room is None:
            return (True, True, 0, 0, whole.client_id)
        needs, ranks = kind.needs, kind.at_least
        no_gpu = bool(needs.gpu_memory) and not choose_gpus(room, kind, ranks)
        cores, ram = needs.cpu_cores * ranks - room.cpu_cores, needs.ram * ranks - room.ram
        return (False, no_gpu, max(cores, 0), max(ram, 0), whole.client_id)

    able = sorted((whole for whole in wholes if missing(whole, kind) is None), key=lack)
    chosen = next((group for group in alike(able, kind) if len(group) >= kind.n_clients), [])
    return frozenset(room.client_id for room in chosen[: kind.n_clients])


class _Lines:
    """Each submitter's waiting tasks in order, whatever their classes: the heads of the classes lie
    in one heap for each submitter. A priority counts among its submitter's own tasks only."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._closed: set[TaskClass] = set()
        self._heads: dict[str, list[tuple[QueueKey, TaskClass, int]]] = {}
        for kind, by_submitter in queues.items():
            for submitter, queue in by_submitter.items():
                if queue:
                    self._heads.setdefault(submitter, []).append((queue[0], kind, 0))
        for heads in self._heads.values():
            heapify(heads)

    def head(self, used: Mapping[str, Usage]) -> tuple[TaskClass, str, QueueKey] | None:
        """The best task of the submitter whose turn it is."""
        for submitter, heads in list(self._heads.items()):
            while heads and heads[0][1] in self._closed:
                heappop(heads)
            if not heads:
                del self._heads[submitter]
        if not self._heads:
            return None

        def turn(submitter: str) -> tuple[Usage, float, str]:
            key = self._heads[submitter][0][0]
            return used.get(submitter, Usage()), key.created_at, key.task_id

        submitter = min(self._heads, key=turn)
        key, kind, _ = self._heads[submitter][0]
        return kind, submitter, key

    def advance(self, submitter: str) -> None:
        """The submitter's head was placed."""
        _, kind, position = heappop(self._heads[submitter])
        queue = self._queues[kind][submitter]
        if position + 1 < len(queue):
            heappush(self._heads[submitter], (queue[position + 1], kind, position + 1))

    def close(self, kind: TaskClass) -> None:
        """None of this class fits anywhere."""
        self._closed.add(kind)


def _choose_clients(rooms: Iterable[Room], kind: TaskClass) -> list[Room] | None:
    """The `n_clients` clients that fit best, or None: a gang starts whole or not at all."""
    fitting = sorted(
        (room for room in rooms if missing(room, kind) is None),
        key=lambda room: _waste(room, kind),
    )
    for group in alike(fitting, kind):
        if len(group) >= kind.n_clients:
            return group[: kind.n_clients]
    return None


def alike(rooms: Iterable[Room], kind: TaskClass) -> list[list[Room]]:
    """The clients that can work together on a task, in groups, each in the given order.

    Agents meet through the farm and contract-only clients by themselves, so no gang mixes them;
    and its agents train with the same versions. What runs on one client needs no such care.
    """
    groups: dict[tuple[bool, str], list[Room]] = {}
    for room in rooms:
        build = room.environments[kind.needs.environment]
        key = (room.fetches_only, build) if kind.n_clients > 1 else (False, "")
        groups.setdefault(key, []).append(room)
    return [groups[key] for key in sorted(groups, key=lambda key: key[0])]


def _waste(room: Room, kind: TaskClass) -> tuple[int, bool, int, int, int, str]:
    """The most ranks where it may be any number; a free GPU is used even where none is required;
    then the GPUs that fit tightest, then the client with most free cores and fewest ranks (spread,
    for the owners' sake), then the id."""
    ranks = most(room, kind)
    gpus = choose_gpus(room, kind, ranks)
    spare = sum(room.shared.get(gpu, room.gpus.get(gpu, 0)) for gpu in gpus)
    return (-ranks, not gpus, spare, -room.cpu_cores, room.ranks, room.client_id)
