"""Which waiting task goes to which clients. Pure and deterministic: same snapshot, same plan.

Queue order (DESIGN section 5): the submitter with the fewest running GPUs, then cores, first;
among that submitter's own tasks priority, then age. Tasks of equal requirements form a class: if
the head of a class fits nowhere, none of the class does, so a round looks at heads only. A gang
gets all its clients or none; smaller tasks behind it may go ahead, but not for ever: once it has
waited for PATIENCE, what it needs is kept free for it (FAULTS row 25).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
    asked for only where a task has waited for long. Cost: for each placement, heads of all classes
    x submitters, plus clients once; a class that fits nowhere is looked at once.
    """
    left = dict(rooms)
    used = dict(usage)
    taken: dict[tuple[TaskClass, str], int] = {}
    open_classes = {kind: queues[kind] for kind in queues}
    placements: list[Placement] = []
    reserved: Reservation | None = None
    while head := _next_head(open_classes, taken, used):
        kind, submitter, key = head
        chosen = _choose_clients(left.values(), kind)
        if chosen is None:
            del open_classes[kind]
            if reserved is None and _is_kept_for(at - key.created_at):
                kept = _choose_wholes(wholes(), left, kind)
                reserved = Reservation(key.task_id, kind, kept) if kept else None
                for client_id in kept & left.keys():
                    left[client_id] = keep_back(left[client_id], kind)
            continue
        taken[kind, submitter] = taken.get((kind, submitter), 0) + 1
        ranks: list[Rank] = []
        each = min(most(room, kind) for room in chosen)
        for room in chosen:
            gpus = choose_gpus(room, kind, each)
            left[room.client_id] = take(room, kind, gpus, each)
            if room.fetches_only:
                del left[room.client_id]
            ranks += [Rank(room.client_id, tuple(gpus[n : n + 1])) for n in range(each)]
        before = used.get(submitter, Usage())
        used[submitter] = Usage(
            before.gpus + sum(len(rank.gpus) for rank in ranks),
            before.cpu_cores + kind.needs.cpu_cores * len(ranks),
        )
        placements.append(Placement(key.task_id, tuple(ranks)))
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


def _next_head(
    classes: Queues, taken: Mapping[tuple[TaskClass, str], int], used: Mapping[str, Usage]
) -> tuple[TaskClass, str, QueueKey] | None:
    """Each submitter's best task, then the submitter whose turn it is: a priority counts among
    its submitter's own tasks only."""
    heads: dict[str, tuple[QueueKey, TaskClass]] = {}
    for kind, by_submitter in classes.items():
        for submitter, queue in by_submitter.items():
            position = taken.get((kind, submitter), 0)
            if position < len(queue):
                head = (queue[position], kind)
                heads[submitter] = min(heads.get(submitter, head), head)
    if not heads:
        return None

    def turn(submitter: str) -> tuple[Usage, float, str]:
        key, _ = heads[submitter]
        return used.get(submitter, Usage()), key.created_at, key.task_id

    submitter = min(heads, key=turn)
    key, kind = heads[submitter]
    return kind, submitter, key


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
