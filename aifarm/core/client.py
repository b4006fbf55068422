"""A workstation as the farm sees it, what it holds, and what an event on it brings about."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from msgspec import Struct, field

from aifarm.core.room import Capacity, Environments, Room, own_alone
from aifarm.core.task import Command, Desired, Note, Phase, RankKey


class Client(Struct, frozen=True):
    """A workstation as the farm sees it.

    `speaks`: "agent" said hello and takes as many ranks as fit; "contract" knows only the
    documented messages and takes one at a time, while its `task_request` is open (`asking`).
    `lends`: its owner lets it take new work. `drained`: why the farm gives it none, or None.
    `failures`: attempts in a row that it could not run. `paths`: whether it can read them, of those
    that it was asked for since it connected and has answered.
    """

    id: str
    capacity: Capacity = Capacity()
    speaks: Literal["agent", "contract"] = "agent"
    connected: bool = False
    asking: bool = False
    lends: bool = True
    drained: str | None = None
    failures: int = 0
    holds: tuple[RankKey, ...] = ()
    environments: Environments = field(default_factory=own_alone)
    paths: Mapping[str, bool] = {}

    @property
    def serves(self) -> bool:
        """Whether it is given work, now or when it is free."""
        return self.connected and not self.drained and (self.lends or self.speaks == "contract")

    @property
    def placeable(self) -> bool:
        """Whether it may be given work now."""
        return self.serves and (self.asking or self.speaks == "agent")

    @property
    def whole(self) -> Room:
        """What there is on it when it holds nothing."""
        return Room(
            client_id=self.id,
            cpu_cores=self.capacity.cpu_cores,
            ram=self.capacity.ram,
            gpus=dict(enumerate(self.capacity.gpus)),
            fetches_only=self.speaks == "contract",
            environments=self.environments,
            paths=self.paths,
        )


class Hold(Struct, frozen=True):
    """What a rank holds of its client, from its assignment until its worker is surely gone.

    `seq`: the last of its messages that is durable.
    """

    key: RankKey
    client_id: str
    submitter: str
    cpu_cores: int
    ram: int
    gpus: tuple[int, ...]
    gpu_memory: int
    shared: bool
    seq: int = 0


class HeldRank(NamedTuple):
    """A rank that an agent says it still knows."""

    key: RankKey
    phase: Phase | None
    """None: its end waits in the agent's outbox."""


class Verdict(NamedTuple):
    key: RankKey
    goes_on: bool
    seq: int
    desired: Desired


class Outcome(Struct, frozen=True):
    commands: tuple[Command, ...] = ()
    notes: tuple[Note, ...] = ()
    stale: bool = False

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(
            self.commands + other.commands,
            self.notes + other.notes,
            self.stale or other.stale,
        )


NOTHING = Outcome()
