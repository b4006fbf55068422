"""Which waiting task goes to which clients. Pure and deterministic: same snapshot, same plan.

Queue order (DESIGN section 5): the submitter with the fewest running GPUs, then cores, first;
among that submitter's own tasks priority, then age. Tasks of equal requirements form a class: if
the head of a class fits nowhere, none of the class does, so a round looks at heads only. A gang
gets all its clients or none; smaller tasks behind it may go ahead.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from aifarm.core.task import Needs, Rank, Task


class Capacity(Struct, frozen=True):
    """What a client can lend. Memory in MiB; `gpus` by index: each one's memory in MiB."""

    cpu_cores: int = 1
    ram: int = 1
    gpus: tuple[int, ...] = ()


class Room(Struct, frozen=True):
    """What is free on a client now. `gpus`: index to free MiB, of those that may be used alone;
    `shared`: index to free MiB, of those in use by tasks that share; `ranks`: how many it holds."""

    client_id: str
    cpu_cores: int
    ram: int
    gpus: Mapping[int, int] = {}
    shared: Mapping[int, int] = {}
    ranks: int = 0
    fetches_only: bool = False


class TaskClass(NamedTuple):
    """Tasks that fit exactly the same clients."""

    needs: Needs
    world_size: int
    share_gpu: bool
    packaged: bool


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


Queues = Mapping[TaskClass, Mapping[str, Sequence[QueueKey]]]
"""Waiting tasks: class, then submitter, then in order."""


def class_of(task: Task) -> TaskClass:
    return TaskClass(task.needs, task.world_size, task.share_gpu, task.packaged)


def queue_key(task: Task) -> QueueKey:
    return QueueKey(-task.priority, task.created_at, task.id)


def missing(room: Room, kind: TaskClass) -> str | None:
    """The first requirement of `kind` that this client cannot meet, in words; None if it fits."""
    needs = kind.needs
    if not kind.packaged and not room.fetches_only:
        return "the farm does not have the package; only clients that fetch it themselves may run"
    if room.cpu_cores < needs.cpu_cores:
        return f"needs {needs.cpu_cores} CPU cores, {room.cpu_cores} free"
    if room.ram < needs.ram:
        return f"needs {needs.ram} MiB of RAM, {room.ram} free"
    if needs.gpu_memory and _choose_gpu(room, kind) is None:
        usable = [free for pool in _pools(room, kind) for free in pool.values()]
        best = max(usable, default=None)
        free = "no GPU free" if best is None else f"at most {best} free on one GPU"
        return f"needs a GPU with {needs.gpu_memory} MiB, {free}"
    return None


def take(room: Room, kind: TaskClass, gpu: int | None) -> Room:
    """What is left of `room` once one rank of `kind` holds its share, and `gpu` if any."""
    gpus, shared = dict(room.gpus), dict(room.shared)
    if gpu is not None:
        free = shared.pop(gpu) if gpu in shared else gpus.pop(gpu)
        if kind.share_gpu:
            shared[gpu] = free - kind.needs.gpu_memory
    return Room(
        client_id=room.client_id,
        cpu_cores=room.cpu_cores - kind.needs.cpu_cores,
        ram=room.ram - kind.needs.ram,
        gpus=gpus,
        shared=shared,
        ranks=room.ranks + 1,
        fetches_only=room.fetches_only,
    )


def plan(
    queues: Queues, rooms: Mapping[str, Room], usage: Mapping[str, Usage]
) -> Iterator[Placement]:
    """Yields placements until nothing more fits. Changes none of its arguments.

    Cost: for each placement, heads of all classes x submitters, plus clients once; a class that
    fits nowhere is looked at once.
    """
    left = dict(rooms)
    used = dict(usage)
    taken: dict[tuple[TaskClass, str], int] = {}
    open_classes = {kind: queues[kind] for kind in queues}
    while head := _next_head(open_classes, taken, used):
        kind, submitter, key = head
        chosen = _choose_clients(left.values(), kind)
        if chosen is None:
            del open_classes[kind]
            continue
        taken[kind, submitter] = taken.get((kind, submitter), 0) + 1
        ranks = []
        gpus_taken = 0
        for room in chosen:
            gpu = _choose_gpu(room, kind)
            left[room.client_id] = take(room, kind, gpu)
            if room.fetches_only:
                del left[room.client_id]
            gpus_taken += gpu is not None
            ranks.append(Rank(room.client_id, () if gpu is None else (gpu,)))
        before = used.get(submitter, Usage())
        cores = kind.needs.cpu_cores * kind.world_size
        used[submitter] = Usage(before.gpus + gpus_taken, before.cpu_cores + cores)
        yield Placement(key.task_id, tuple(ranks))


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
    """The `world_size` clients that fit best, or None: a gang starts whole or not at all.

    Agents meet through the farm and contract-only clients by themselves, so no gang mixes them.
    """
    fitting = sorted(
        (room for room in rooms if missing(room, kind) is None),
        key=lambda room: _waste(room, kind),
    )
    if kind.world_size == 1:
        return fitting[:1] or None
    for contract in (False, True):
        alike = [room for room in fitting if room.fetches_only is contract]
        if len(alike) >= kind.world_size:
            return alike[: kind.world_size]
    return None


def _waste(room: Room, kind: TaskClass) -> tuple[bool, int, int, int, str]:
    """A free GPU is used even where none is required; then the GPU that fits tightest, then the
    client with most free cores and fewest ranks (spread, for the owners' sake), then the id."""
    gpu = _choose_gpu(room, kind)
    spare = 0 if gpu is None else room.shared.get(gpu, room.gpus.get(gpu, 0))
    return (gpu is None, spare, -room.cpu_cores, room.ranks, room.client_id)


def _pools(room: Room, kind: TaskClass) -> tuple[Mapping[int, int], ...]:
    """The GPUs that tasks of this class may use, those already shared first."""
    return (room.shared, room.gpus) if kind.share_gpu else (room.gpus,)


def _choose_gpu(room: Room, kind: TaskClass) -> int | None:
    """The smallest GPU that suffices, one already shared before a whole one."""
    for pool in _pools(room, kind):
        fits = [(free, index) for index, free in pool.items() if free >= kind.needs.gpu_memory]
        if fits:
            return min(fits)[1]
    return None
