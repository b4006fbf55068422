"""Which waiting task goes to which clients. Pure and deterministic: same snapshot, same plan.

Queue order (DESIGN section 5): the submitter with the fewest running GPUs, then cores, first;
among that submitter's own tasks priority, then age. Tasks of equal requirements form a class: if
the head of a class fits nowhere, none of the class does, so a round looks at heads only. A gang
gets all its clients or none; smaller tasks behind it may go ahead, but not for ever: once it has
waited for PATIENCE, what it needs is kept free for it (FAULTS row 25).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from aifarm.core.task import Needs, Rank, Task

PATIENCE = 600.0
"""Seconds that a task may wait while others pass it."""

KEEP = 3600.0
"""Seconds for which clients are kept for a task, and then again are not: what it waits for there
may take weeks, and half of the time others should have the use of what is free."""


class Capacity(Struct, frozen=True):
    """What a client can lend. Memory in MiB; `gpus` by index: each one's memory in MiB; `held`:
    the indexes of those that another agent of the same host has at present."""

    cpu_cores: int = 1
    ram: int = 1
    gpus: tuple[int, ...] = ()
    held: tuple[int, ...] = ()


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


class Reservation(NamedTuple):
    """Clients on which nobody may take what a task needs that has waited for long."""

    task_id: str
    kind: TaskClass
    client_ids: frozenset[str]


class Plan(NamedTuple):
    """`reserved`: for one task at most, so that no two of them wait for each other's clients."""

    placements: list[Placement]
    reserved: Reservation | None = None


class Lack(NamedTuple):
    """The first requirement that a client does not meet: how much is needed, how much is there."""

    what: Literal["package", "cpu_cores", "ram", "gpu_memory"]
    needed: int = 0
    there: int = 0

    def words(self, there: str = "{} free") -> str:
        """In words; `there` says what the number is, as "it has {}"."""
        found = there.format(self.there)
        match self.what:
            case "package":
                return "the farm does not have its package; only clients that fetch it may run it"
            case "cpu_cores":
                return f"needs {self.needed} CPU cores, {found}"
            case "ram":
                return f"needs {self.needed} MiB of RAM, {found}"
            case _ if not self.there:
                return f"needs a GPU with {self.needed} MiB, {there.format('no GPU')}"
            case _:
                return f"needs a GPU with {self.needed} MiB, {found} at most on one GPU"


Queues = Mapping[TaskClass, Mapping[str, Sequence[QueueKey]]]
"""Waiting tasks: class, then submitter, then in order."""


def class_of(task: Task) -> TaskClass:
    return TaskClass(task.needs, task.world_size, task.share_gpu, task.packaged)


def queue_key(task: Task) -> QueueKey:
    return QueueKey(-task.priority, task.created_at, task.id)


def missing(room: Room, kind: TaskClass) -> Lack | None:
    """The first requirement of `kind` that this client cannot meet; None if it fits."""
    needs = kind.needs
    if not kind.packaged and not room.fetches_only:
        return Lack("package")
    if room.cpu_cores < needs.cpu_cores:
        return Lack("cpu_cores", needs.cpu_cores, room.cpu_cores)
    if room.ram < needs.ram:
        return Lack("ram", needs.ram, room.ram)
    if needs.gpu_memory and choose_gpu(room, kind) is None:
        usable = [free for pool in _pools(room, kind) for free in pool.values()]
        return Lack("gpu_memory", needs.gpu_memory, max(usable, default=0))
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
        ranks = []
        gpus_taken = 0
        for room in chosen:
            gpu = choose_gpu(room, kind)
            left[room.client_id] = take(room, kind, gpu)
            if room.fetches_only:
                del left[room.client_id]
            gpus_taken += gpu is not None
            ranks.append(Rank(room.client_id, () if gpu is None else (gpu,)))
        before = used.get(submitter, Usage())
        cores = kind.needs.cpu_cores * kind.world_size
        used[submitter] = Usage(before.gpus + gpus_taken, before.cpu_cores + cores)
        placements.append(Placement(key.task_id, tuple(ranks)))
    return Plan(placements, reserved)


def _is_kept_for(age: float) -> bool:
    """Whether a task that has waited so many seconds may have clients kept for it."""
    return age >= PATIENCE and (age - PATIENCE) % (2 * KEEP) < KEEP


def keep_back(room: Room, kind: TaskClass) -> Room:
    """What others may take of a client that is kept for a task of `kind`: all but what it needs.

    A client that takes one task at a time is kept whole.
    """
    if room.fetches_only:
        return Room(room.client_id, -1, -1, fetches_only=True)
    gpus, shared = dict(room.gpus), dict(room.shared)
    if kind.needs.gpu_memory:
        gpu = choose_gpu(room, kind)
        if gpu is None and kind.share_gpu:  # tasks that end leave more room on the same GPU
            gpu = max(shared, key=lambda index: (shared[index], -index), default=None)
        if gpu is not None:
            gpus.pop(gpu, None)
            shared.pop(gpu, None)
    return Room(
        client_id=room.client_id,
        cpu_cores=max(room.cpu_cores - kind.needs.cpu_cores, 0),
        ram=max(room.ram - kind.needs.ram, 0),
        gpus=gpus,
        shared=shared,
        ranks=room.ranks,
    )


def _choose_wholes(
    wholes: Iterable[Room], left: Mapping[str, Room], kind: TaskClass
) -> frozenset[str]:
    """The `world_size` clients that lack least of what `kind` needs; empty if there are too few.

    What is kept for a task makes its clients lack less and less, so the choice is a steady one.
    """

    def lack(whole: Room) -> tuple[bool, bool, int, int, str]:
        room = left.get(whole.client_id)
        if room is None:
            return (True, True, 0, 0, whole.client_id)
        needs = kind.needs
        no_gpu = bool(needs.gpu_memory) and choose_gpu(room, kind) is None
        cores, ram = needs.cpu_cores - room.cpu_cores, needs.ram - room.ram
        return (False, no_gpu, max(cores, 0), max(ram, 0), whole.client_id)

    able = sorted((whole for whole in wholes if missing(whole, kind) is None), key=lack)
    for contract in (False, True):
        alike = [whole.client_id for whole in able if whole.fetches_only is contract]
        if len(alike) >= kind.world_size:
            return frozenset(alike[: kind.world_size])
    return frozenset()


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
    gpu = choose_gpu(room, kind)
    spare = 0 if gpu is None else room.shared.get(gpu, room.gpus.get(gpu, 0))
    return (gpu is None, spare, -room.cpu_cores, room.ranks, room.client_id)


def _pools(room: Room, kind: TaskClass) -> tuple[Mapping[int, int], ...]:
    """The GPUs that tasks of this class may use, those already shared first."""
    return (room.shared, room.gpus) if kind.share_gpu else (room.gpus,)


def choose_gpu(room: Room, kind: TaskClass) -> int | None:
    """The smallest GPU that suffices, one already shared before a whole one."""
    for pool in _pools(room, kind):
        fits = [(free, index) for index, free in pool.items() if free >= kind.needs.gpu_memory]
        if fits:
            return min(fits)[1]
    return None
