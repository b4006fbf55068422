"""What passes between the session, which decides, and those who act for it.

Effects are orders of the session; reports are what the supervisor and the transfers saw. A rank
is always meant by its key, never by its worker's process.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from aifarm.wire.agent import (
    AssignedTask,
    Endpoint,
    Environment,
    FromClient,
    OutputFile,
    Point,
    Resumed,
)
from aifarm.wire.types import DesiredState, Metrics


class RankKey(NamedTuple):
    """One try at one share of a task. `attempt` is the fencing token."""

    task_id: str
    attempt: int
    rank: int

    def __str__(self) -> str:
        return f"task {self.task_id} attempt {self.attempt} rank {self.rank}"


class Identity(NamedTuple):
    """Who this agent is. `labels`: what its owner says of the machine; `environments`: the Pythons
    that tasks may name."""

    client_id: str
    machine_id: str
    boot_id: str
    hostname: str
    agent_version: str
    labels: dict[str, str]
    environments: tuple[Environment, ...] = ()


class Mark(NamedTuple):
    """How far a file of a run folder is consumed: `offset` bytes of its `segment`."""

    source: Literal["journal", "watch", "log"]
    segment: int
    offset: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint on this machine's disk; `size` in bytes, `progress` in percent.

    `best`: by the metric that its task names, up to now.
    """

    path: str
    step: int
    size: int
    sha256: str
    epoch: int | None = None
    progress: float = 0.0
    metrics: Metrics = field(default_factory=dict)
    final: bool = False
    best: bool = False


# ---------------------------------------------------------------- effects


@dataclass(frozen=True, slots=True)
class Send:
    message: FromClient


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The server does not answer: drop this connection and make a new one."""

    reason: str


@dataclass(frozen=True, slots=True)
class Prepare:
    """Fetch package, data and checkpoint. Answered by Prepared or Failed."""

    key: RankKey
    task: AssignedTask


@dataclass(frozen=True, slots=True)
class OpenEndpoint:
    """Rank 0 of a gang: open its rendezvous. Answered by EndpointOpened or Failed."""

    key: RankKey
    task: AssignedTask


@dataclass(frozen=True, slots=True)
class Launch:
    """Start the worker. Answered by Started, or an end."""

    key: RankKey
    endpoint: Endpoint | None
    desired: DesiredState


@dataclass(frozen=True, slots=True)
class Steer:
    """Bring a worker to the desired state. Level-triggered; repeats are harmless."""

    key: RankKey
    desired: DesiredState


@dataclass(frozen=True, slots=True)
class Kill:
    """End all that runs for this rank, now. Answered by Died (or an end that was under way)."""

    key: RankKey


@dataclass(frozen=True, slots=True)
class Upload:
    """Store a checkpoint's bytes. Answered by CheckpointStored or CheckpointDropped."""

    key: RankKey
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Collect:
    """Store what is new of the files that a task keeps; `final`: its worker is gone. Answered by
    OutputsCollected."""

    key: RankKey
    final: bool


@dataclass(frozen=True, slots=True)
class Forget:
    """The server knows the end of this rank: remove what was kept for it."""

    key: RankKey


@dataclass(frozen=True, slots=True)
class Look:
    """Find out which of these paths can be read, again and again. Answered by `Session.seen`."""

    paths: tuple[str, ...]


Effect = (
    Send
    | Disconnect
    | Prepare
    | OpenEndpoint
    | Launch
    | Steer
    | Kill
    | Upload
    | Collect
    | Forget
    | Look
)


# ---------------------------------------------------------------- reports


@dataclass(frozen=True, slots=True)
class Prepared:
    pass


@dataclass(frozen=True, slots=True)
class EndpointOpened:
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Started:
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Running:
    step: int | None = None
    resumed: Resumed | None = None


@dataclass(frozen=True, slots=True)
class Paused:
    """`how`: in one sentence, where the code did not do it by itself."""

    step: int | None = None
    resumed: Resumed | None = None
    how: str | None = None


@dataclass(frozen=True, slots=True)
class CannotPause:
    """Ranks of a gang whose code attends to nothing: frozen, their collectives would time out."""


@dataclass(frozen=True, slots=True)
class Points:
    """Metric points in order; `dropped`: how many the worker could not keep."""

    progress: float
    points: list[Point]
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class LogLines:
    """`open`: what the line after them, which has not ended, shows so far."""

    lines: list[str]
    open: str = ""


@dataclass(frozen=True, slots=True)
class CheckpointWritten:
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Remark:
    """Something for the task's story that its training survives; the fields are the wire's."""

    kind: Literal["checkpoint_failed", "checkpoint_damaged"]
    message: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What a step of the gang costs; the fields are the wire's."""

    compute: float
    gradients: float
    bandwidth: float
    latency: float


@dataclass(frozen=True, slots=True)
class CheckpointStored:
    upload_id: str
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class CheckpointDropped:
    """It will not be uploaded: a newer one takes its place, or the server refused it."""

    checkpoint: Checkpoint
    reason: str


@dataclass(frozen=True, slots=True)
class OutputsDue:
    """Time to look at what the run keeps."""


@dataclass(frozen=True, slots=True)
class WeightsWritten:
    """The final weights lie in the run folder."""


@dataclass(frozen=True, slots=True)
class OutputsCollected:
    """`files` are stored, `gone` were removed; `said`: what the task's log should say of others."""

    files: list[OutputFile]
    gone: list[str]
    final: bool
    said: list[str]


@dataclass(frozen=True, slots=True)
class Finished:
    metrics: Metrics = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stopped:
    """`how`: in one sentence, where the code did not do it by itself."""

    step: int | None = None
    how: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """`cause`: why, in the farm's words; `message`: one sentence. The traceback is in the log."""

    cause: str
    message: str


@dataclass(frozen=True, slots=True)
class Died:
    """The worker is gone without a last word. Both None: it was never started."""

    code: int | None = None
    signal: int | None = None
    out_of_memory: bool = False


End = Finished | Stopped | Failed | Died
Report = (
    Prepared
    | EndpointOpened
    | Started
    | Running
    | Paused
    | CannotPause
    | Points
    | LogLines
    | CheckpointWritten
    | Remark
    | Measured
    | CheckpointStored
    | CheckpointDropped
    | OutputsDue
    | WeightsWritten
    | OutputsCollected
    | End
)


class Restored(NamedTuple):
    """What a restarted agent found of a rank: its run folder stands, or is gone, or the place where
    its gang was to meet is. `begun`: a worker was started there."""

    key: RankKey
    alive: bool
    begun: bool = True
