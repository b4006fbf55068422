"""A task's life as values: states, causes, ranks, and the events that move them."""

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

QUARANTINE = 5
"""Attempts in a row, none reaching a checkpoint, that may end with a lost agent (FAULTS row 30)."""


PER_GPU = 0
"""As a number of processes: one for each GPU."""


class State(StrEnum):
    PENDING = "pending"
    ASSIGNED = "assigned"
    RUNNING = "running"
    PAUSED = "paused"
    UNREACHABLE = "unreachable"
    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"


FINAL = frozenset({State.COMPLETED, State.FAILED, State.STOPPED})
ACTIVE = frozenset({State.ASSIGNED, State.RUNNING, State.PAUSED, State.UNREACHABLE})


class Desired(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


class Cause(StrEnum):
    COMPLETED = "completed"
    USER_ERROR = "user_error"
    OUT_OF_MEMORY = "out_of_memory"
    AGENT_LOST = "agent_lost"
    OWNER_RETURNED = "owner_returned"
    VACATED = "vacated"
    STOPPED = "stopped"
    PACKAGE_INVALID = "package_invalid"
    TIMEOUT = "timeout"


class Phase(StrEnum):
    """How far one rank of the current attempt is, as last observed."""

    ASSIGNED = "assigned"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    STOPPED = "stopped"
    CUT_OFF = "cut_off"


class RankKey(NamedTuple):
    """One rank of one attempt: what an agent runs, and what holds a client's resources."""

    task_id: str
    attempt: int
    rank: int


OWN = "default"
"""The environment that an agent itself runs in."""


class Needs(Struct, frozen=True, cache_hash=True):
    """What each rank needs of its client; memory in MiB. `gpu_memory` 0: no GPU required.
    `environment`: the name of a Python there; `reads`: paths there that it must be able to read."""

    gpu_memory: int = 0
    cpu_cores: int = 1
    ram: int = 1
    environment: str = OWN
    reads: tuple[str, ...] = ()


class Rank(Struct, frozen=True):
    """One rank of the current attempt. `lost`: its client is out of contact at present."""

    client_id: str
    gpus: tuple[int, ...] = ()
    phase: Phase = Phase.ASSIGNED
    lost: bool = False

    @property
    def ended(self) -> bool:
        return self.phase in (Phase.COMPLETED, Phase.STOPPED, Phase.CUT_OFF)


class Task(Struct, frozen=True):
    """One task. `ranks` is the current attempt's, by rank number; empty while it holds no client.

    `attempt` counts from 0 (never placed) and is the fencing token. `retries` is the budget for
    failures of the task's own making, `failures` what is spent of it; `losses` counts attempts
    lost with their agents since the last committed checkpoint. `revocable`: the lease lapsed, so
    another client may get attempt n+1. `packaged` is false while only clients that fetch for
    themselves can take it. `processes` ranks run on each of `n_clients` clients; PER_GPU: as many
    as these have GPUs for, the same number on each.
    """

    id: str
    submitter: str
    created_at: float
    needs: Needs = Needs()
    n_clients: int = 1
    processes: int = 1
    priority: int = 0
    share_gpu: bool = False
    retries: int = 0
    packaged: bool = True

    state: State = State.PENDING
    desired: Desired = Desired.RUNNING
    attempt: int = 0
    ranks: tuple[Rank, ...] = ()
    endpoint: tuple[str, int] | None = None
    revocable: bool = False
    failures: int = 0
    losses: int = 0
    cause: Cause | None = None
    message: str | None = None
    started_at: float | None = None
    ended_at: float | None = None
    updated_at: float = 0.0

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def world_size(self) -> int:
        """How many ranks the attempt has, or the next one will have at least."""
        return len(self.ranks) or self.n_clients * max(self.processes, 1)

    def local(self, rank: int) -> range:
        """The ranks of the current attempt that are on the same client as this one."""
        count = len(self.ranks) // self.n_clients
        first = rank - rank % count
        return range(first, first + count)

    @property
    def waiting(self) -> bool:
        """Whether placement may give it clients now."""
        return self.desired is Desired.RUNNING and (
            self.state is State.PENDING or (self.state is State.UNREACHABLE and self.revocable)
        )


# ---------------------------------------------------------------- events about one task


class Event(Struct, frozen=True, kw_only=True):
    """`at`: seconds since the epoch, for the record; no decision is taken from it."""

    at: float


class OfAttempt(Event, frozen=True, kw_only=True):
    attempt: int


class OfRank(OfAttempt, frozen=True, kw_only=True):
    rank: int


class Placed(Event, frozen=True, kw_only=True):
    """Clients were found for every rank: the next attempt begins."""

    ranks: tuple[Rank, ...]


class EndpointOpened(OfAttempt, frozen=True, kw_only=True):
    """Rank 0's agent listens for its peers."""

    address: str
    port: int


class Observed(OfRank, frozen=True, kw_only=True):
    """The rank's worker runs, or holds: `phase` is RUNNING or PAUSED."""

    phase: Phase


class RankEnded(OfRank, frozen=True, kw_only=True):
    """A rank's worker is gone for good: `cause` completed, stopped, vacated, or why it failed.

    Vacated: it was held for its limit, and let go of its client after a checkpoint.
    `cut_off`: it ended because its peers were gone, so the reason is to be had from them.
    """

    cause: Cause
    message: str | None = None
    cut_off: bool = False


class RankLost(OfRank, frozen=True, kw_only=True):
    """Certain: this rank's worker no longer exists, and nothing of it will come."""

    message: str


class ContactLost(OfRank, frozen=True, kw_only=True):
    """The rank's client is away; its worker may well go on."""


class ContactBack(OfRank, frozen=True, kw_only=True):
    """The rank's client is here again, and its worker still exists."""


class LeaseLapsed(OfRank, frozen=True, kw_only=True):
    """The rank's client stayed away for longer than its lease."""


class DesiredSet(Event, frozen=True, kw_only=True):
    """Somebody, named by `by`, says what the task should do."""

    desired: Desired
    by: str
    reason: str | None = None


class Checkpointed(OfAttempt, frozen=True, kw_only=True):
    """A checkpoint of this attempt is committed."""

    step: int


TaskEvent = (
    Placed
    | EndpointOpened
    | Observed
    | RankEnded
    | RankLost
    | ContactLost
    | ContactBack
    | LeaseLapsed
    | DesiredSet
    | Checkpointed
)


# ---------------------------------------------------------------- what follows from them


class Assign(Struct, frozen=True):
    """Send the assignment of this rank to its client."""

    client_id: str
    key: RankKey


class Launch(Struct, frozen=True):
    """Tell this rank of a gang where its peers meet: it may start."""

    client_id: str
    key: RankKey


class Steer(Struct, frozen=True):
    """Tell the client what state the task should be in."""

    client_id: str
    key: RankKey
    desired: Desired


class Withdraw(Struct, frozen=True):
    """Tell the client that this attempt is over for the farm."""

    client_id: str
    key: RankKey


class Look(Struct, frozen=True):
    """Ask the client whether it can read these paths, now and from now on."""

    client_id: str
    paths: tuple[str, ...]


Command = Assign | Launch | Steer | Withdraw | Look


class Note(Struct, frozen=True):
    """A line of the story: becomes one event row. `message` is plain words for the submitter."""

    kind: str
    message: str
    task_id: str | None = None
    client_id: str | None = None
    attempt: int | None = None
