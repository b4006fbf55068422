"""What is free on a client, and whether a task of some class fits there. Pure."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from msgspec import Struct, field
from msgspec.structs import replace

from aifarm.core.task import OWN, Needs, Task


class Capacity(Struct, frozen=True):
    """What a client can lend. Memory in MiB; `gpus` by index: each one's memory in MiB; `held`:
    the indexes of those that another agent of the same host has at present."""

    cpu_cores: int = 1
    ram: int = 1
    gpus: tuple[int, ...] = ()
    held: tuple[int, ...] = ()


Environments = Mapping[str, str]
"""A client's Pythons by name, each with its build in words: Python, torch and CUDA versions."""


def own_alone() -> Environments:
    """Of a client that does not say: its own, of unknown build."""
    return {OWN: ""}


class Room(Struct, frozen=True):
    """What is free on a client now. `gpus`: index to free MiB, of those that may be used alone;
    `shared`: index to free MiB, of those in use by tasks that share; `ranks`: how many it holds.
    `paths`: whether it can read them, of those that it was asked for and has answered."""

    client_id: str
    cpu_cores: int
    ram: int
    gpus: Mapping[int, int] = {}
    shared: Mapping[int, int] = {}
    ranks: int = 0
    fetches_only: bool = False
    environments: Environments = field(default_factory=own_alone)
    paths: Mapping[str, bool] = {}


class TaskClass(NamedTuple):
    """Tasks that fit exactly the same clients."""

    needs: Needs
    n_clients: int
    processes: int
    share_gpu: bool
    packaged: bool

    @property
    def at_least(self) -> int:
        """Ranks on one client."""
        return max(self.processes, 1)


class Lack(NamedTuple):
    """The first requirement that a client does not meet: how much each rank needs, how much is
    there for each, or else its reason in words. `ranks`: so many are to run there."""

    what: Literal["package", "processes", "environment", "path", "cpu_cores", "ram", "gpu_memory"]
    needed: int = 0
    there: int = 0
    ranks: int = 1
    reason: str = ""

    @property
    def amount(self) -> bool:
        """Whether it is a matter of how much."""
        return not self.reason

    def words(self, there: str = "{} free") -> str:
        """In words; `there` says what the number is, as "it has {}"."""
        found = there.format(self.there)
        each = f" for each of {self.ranks} processes" if self.ranks > 1 else ""
        match self.what:
            case "cpu_cores":
                return f"needs {self.needed} CPU cores{each}, {found}"
            case "ram":
                return f"needs {self.needed} MiB of RAM{each}, {found}"
            case "gpu_memory" if not self.there:
                return f"needs a GPU with {self.needed} MiB{each}, {there.format('no GPU')}"
            case "gpu_memory":
                return f"needs a GPU with {self.needed} MiB{each}, {found} at most on one GPU"
            case _:
                return self.reason


def class_of(task: Task) -> TaskClass:
    return TaskClass(task.needs, task.n_clients, task.processes, task.share_gpu, task.packaged)


def missing(room: Room, kind: TaskClass) -> Lack | None:
    """The first requirement of `kind` that this client cannot meet; None if it fits."""
    needs, ranks = kind.needs, kind.at_least
    if not kind.packaged and not room.fetches_only:
        words = "the farm does not have its package; only clients that fetch it may run it"
        return Lack("package", reason=words)
    if room.fetches_only and kind.processes != 1:
        return Lack("processes", reason="only an agent runs several processes of a task")
    if needs.environment not in room.environments:
        has = ", ".join(sorted(room.environments)) or "none"
        return Lack(
            "environment", reason=f"it has no environment {needs.environment} (it has: {has})"
        )
    for path in needs.reads:
        if not room.paths.get(path):
            said = "it cannot read" if path in room.paths else "it has not said if it can read"
            return Lack("path", reason=f"{said} {path}")
    if room.cpu_cores < needs.cpu_cores * ranks:
        return Lack("cpu_cores", needs.cpu_cores, room.cpu_cores // ranks, ranks)
    if room.ram < needs.ram * ranks:
        return Lack("ram", needs.ram, room.ram // ranks, ranks)
    if needs.gpu_memory and not choose_gpus(room, kind, ranks):
        usable = sorted(free for pool in _pools(room, kind) for free in pool.values())
        there = usable[-ranks] if len(usable) >= ranks else 0
        return Lack("gpu_memory", needs.gpu_memory, there, ranks)
    return None


def take(room: Room, kind: TaskClass, gpus: Sequence[int], ranks: int) -> Room:
    """What is left of `room` once `ranks` of `kind` hold their shares, and these GPUs if any."""
    alone, shared = dict(room.gpus), dict(room.shared)
    for gpu in gpus:
        free = shared.pop(gpu) if gpu in shared else alone.pop(gpu)
        if kind.share_gpu:
            shared[gpu] = free - kind.needs.gpu_memory
    return replace(
        room,
        cpu_cores=room.cpu_cores - kind.needs.cpu_cores * ranks,
        ram=room.ram - kind.needs.ram * ranks,
        gpus=alone,
        shared=shared,
        ranks=room.ranks + ranks,
    )


def most(room: Room, kind: TaskClass) -> int:
    """How many ranks of a task the client takes that it fits: one per GPU if that is wished."""
    if kind.processes:
        return kind.processes
    ranks = sum(len(pool) for pool in _pools(room, kind))
    while ranks > 1 and missing(room, kind._replace(processes=ranks)) is not None:
        ranks -= 1
    return max(ranks, 1)


def keep_back(room: Room, kind: TaskClass) -> Room:
    """What others may take of a client that is kept for a task of `kind`: all but what it needs.

    A client that takes one task at a time is kept whole.
    """
    if room.fetches_only:
        return replace(room, cpu_cores=-1, ram=-1)
    ranks = kind.processes or max(len(room.gpus) + len(room.shared), 1)
    gpus, shared = dict(room.gpus), dict(room.shared)
    if kind.needs.gpu_memory:
        kept = _fitting_gpus(room, kind)[:ranks]
        if kind.share_gpu:  # tasks that end leave more room on the same GPU
            rest = sorted(shared.keys() - set(kept), key=lambda index: (-shared[index], index))
            kept += rest[: ranks - len(kept)]
        for gpu in kept:
            gpus.pop(gpu, None)
            shared.pop(gpu, None)
    return replace(
        room,
        cpu_cores=max(room.cpu_cores - kind.needs.cpu_cores * ranks, 0),
        ram=max(room.ram - kind.needs.ram * ranks, 0),
        gpus=gpus,
        shared=shared,
    )


def _pools(room: Room, kind: TaskClass) -> tuple[Mapping[int, int], ...]:
    """The GPUs that tasks of this class may use, those already shared first."""
    return (room.shared, room.gpus) if kind.share_gpu else (room.gpus,)


def _fitting_gpus(room: Room, kind: TaskClass) -> list[int]:
    """The GPUs that suffice, the smallest first, and those already shared before whole ones."""
    return [
        index
        for pool in _pools(room, kind)
        for free, index in sorted((free, index) for index, free in pool.items())
        if free >= kind.needs.gpu_memory
    ]


def choose_gpus(room: Room, kind: TaskClass, ranks: int) -> list[int]:
    """One for each of so many ranks, or none at all."""
    fitting = _fitting_gpus(room, kind)
    return fitting[:ranks] if len(fitting) >= ranks else []
