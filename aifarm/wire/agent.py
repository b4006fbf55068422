"""The agent protocol: every message on the WebSocket between a client and the server.

The first messages of each direction are the documented contract; what stands below the line
"extensions" is spoken only with an agent that said `hello`. Every message about a task may
carry `attempt`, `rank` and `seq`: `seq` counts from 1 without gaps per (task, attempt, rank),
and acknowledgements are cumulative. A contract-only client sends none of them.
"""

import re
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from aifarm.wire.types import (
    JSON,
    Argument,
    ControlAction,
    Count,
    DataUrl,
    DesiredState,
    Glob,
    HostPath,
    Identifier,
    Metric,
    Metrics,
    Name,
    Natural,
    NonNegative,
    Outcome,
    Percent,
    Positive,
    RelativePath,
    Requirements,
    Sha256,
    Text,
    Timestamp,
)

PROTOCOL = 1
"""Version that `hello` announces; the server refuses an agent it cannot understand."""

MAX_MESSAGE = 1 << 20
"""Bytes in one socket message, either way (SECURITY row 21)."""

MAX_OUTPUTS = 10_000
"""Files that one task may keep."""

MAX_OUTPUT_BYTES = 1 << 40
"""Bytes that the files of one task may have together."""

OUTPUTS_AT_ONCE = 250
"""Files of one message, so that it stays within MAX_MESSAGE however long their paths are."""

# (step, time in seconds since the epoch, {name: value})
Point = tuple[Natural, float, Metrics]


Version = Annotated[str, Meta(min_length=1, max_length=64)]

# ---------------------------------------------------------------- resources


class Cpu(Struct, frozen=True):
    """`cores`: logical cores a task may use; `usage` in percent."""

    cores: Natural = 0
    usage: Percent = 0.0


class Memory(Struct, frozen=True):
    """MiB."""

    total: Natural = 0
    used: Natural = 0


class GpuProcess(Struct, frozen=True, omit_defaults=True):
    """A process that computes on a GPU: whose it is, its program, and the MiB that it holds."""

    pid: Natural
    user: str | None = None
    name: str | None = None
    memory: Natural | None = None


class Gpu(Struct, frozen=True, omit_defaults=True):
    """One GPU. `utilization` in percent, `temperature` in °C, `processes` that compute on it; None
    where NVML does not say. `held`: another agent of the same host has it at present."""

    id: Natural
    name: str
    memory: Memory
    uuid: str | None = None
    utilization: float | None = None
    temperature: float | None = None
    processes: tuple[GpuProcess, ...] | None = None
    held: bool = False


class Resources(Struct, frozen=True):
    """What a client has and how much of it is in use."""

    cpu: Cpu = Cpu()
    ram: Memory = Memory()
    gpu: tuple[Gpu, ...] = ()


class Environment(Struct, frozen=True):
    """A Python on a client that tasks may name, with the versions that are in it. `cuda` is the one
    that its torch was built for, null where that computes on CPUs alone."""

    name: Name
    python: Version
    torch: Version
    cuda: Version | None = None


class SystemInfo(Struct, frozen=True, omit_defaults=True):
    """Use in percent, None where unknown; `resources` is optional and, for a contract-only client,
    its capacity."""

    cpu_usage: float | None = None
    ram_usage: float | None = None
    gpu_usage: float | None = None
    resources: Resources | None = None


# ---------------------------------------------------------------- client to server


class ClientMessage(Struct, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    """The connection says who speaks; a `client_id` that differs is an error."""

    client_id: str | None = None
    timestamp: Timestamp | None = None


class TaskRequest(ClientMessage, tag="task_request", frozen=True, kw_only=True):
    """A contract-only client is ready for one task; stays open until there is one."""


class AboutRank(ClientMessage, frozen=True, kw_only=True):
    """`attempt` is the fencing token; all three are implied for a contract-only client."""

    task_id: Identifier
    attempt: Count | None = None
    rank: Natural | None = None
    seq: Count | None = None


class TaskProgress(AboutRank, tag="task_progress", frozen=True, kw_only=True):
    """Latest values, and for an agent every point since its last message (one per step).

    `seq_to`: this message stands for seq..seq_to, whose points were thinned in the outbox.
    """

    progress: Percent
    metrics: Metrics = {}
    points: list[Point] = []
    seq_to: Count | None = None


class TaskResult(AboutRank, tag="task_result", frozen=True, kw_only=True):
    """The end of a rank. `checkpoint_path` is recorded, never opened."""

    status: Outcome
    metrics: Metrics = {}
    checkpoint_path: Text | None = None
    cause: Text | None = None
    message: Text | None = None


class Heartbeat(ClientMessage, tag="heartbeat", frozen=True, kw_only=True):
    system_info: SystemInfo = SystemInfo()


# extensions

HeldState = Literal["starting", "running", "paused", "ended"]


class HeldRank(Struct, frozen=True):
    """A rank an agent still knows: its worker lives, or its end waits in the outbox."""

    task_id: Identifier
    attempt: Count
    rank: Natural
    state: HeldState
    last_seq: Natural = 0


class Hello(ClientMessage, tag="hello", frozen=True, kw_only=True):
    """First message of an agent on each connection; nothing is assigned before it.

    `environments`: its own, under the name "default", and those that its owner named.
    """

    boot_id: Identifier
    machine_id: Identifier
    agent_version: str
    protocol: int
    resources: Resources
    hostname: str = ""
    labels: dict[str, str] = {}
    environments: tuple[Environment, ...] = ()
    tasks: tuple[HeldRank, ...] = ()
    lends: bool = True


class Resumed(Struct, frozen=True, omit_defaults=True):
    """The state of a checkpoint was restored: the `loss` of its reference batch, and the one that
    was `expected`; `verified`: whether they are the same, null where there is none to compare."""

    loss: Metric = None
    expected: Metric = None
    verified: bool | None = None


class TaskState(AboutRank, tag="task_state", frozen=True, kw_only=True):
    """The observed state changed; the first `running` of a rank brings its provenance, the first
    one after its checkpoint is restored says `resumed`.

    `how`: in one sentence, where it was not the training code that did it.
    """

    state: Literal["running", "paused"]
    step: Natural | None = None
    how: Annotated[str, Meta(max_length=4096)] | None = None
    provenance: dict[str, JSON] = {}
    resumed: Resumed | None = None


class TaskLog(AboutRank, tag="task_log", frozen=True, kw_only=True):
    """Lines of the worker's output, in order, without line ends.

    `open`: what the line after them shows so far, such as a progress bar; it is told, not kept.
    """

    lines: list[str]
    open: str = ""


class TaskCheckpoint(AboutRank, tag="task_checkpoint", frozen=True, kw_only=True):
    """A checkpoint whose bytes are stored as `upload_id`; it exists once this is acknowledged.

    `best`: by the metric that its task names, up to now.
    """

    upload_id: Identifier
    step: Natural
    size: Natural
    sha256: Sha256
    epoch: Natural | None = None
    progress: Percent = 0.0
    metrics: Metrics = {}
    final: bool = False
    best: bool = False


class OutputFile(Struct, frozen=True):
    """A file that a task keeps: `path` under its working folder, `size` in bytes.

    Its bytes are stored as `upload_id`; None where the file is empty, or the task's outputs have
    these bytes already.
    """

    path: RelativePath
    size: Natural
    sha256: Sha256
    upload_id: Identifier | None = None


class TaskOutputs(AboutRank, tag="task_outputs", frozen=True, kw_only=True):
    """What changed among the files that a task keeps; they are kept once this is acknowledged.

    `final`: with this the attempt has told all.
    """

    files: Annotated[list[OutputFile], Meta(max_length=OUTPUTS_AT_ONCE)] = []
    removed: Annotated[list[RelativePath], Meta(max_length=OUTPUTS_AT_ONCE)] = []
    final: bool = False


class Lending(ClientMessage, tag="lending", frozen=True, kw_only=True):
    """Whether this client takes new tasks from now on. Its owner decides."""

    lends: bool


class TaskNote(AboutRank, tag="task_note", frozen=True, kw_only=True):
    """A sentence for the task's story, about something that its training survives."""

    kind: Literal["checkpoint_failed", "checkpoint_damaged"]
    message: Text


class TaskMeasured(AboutRank, tag="task_measured", frozen=True, kw_only=True):
    """What a step of a gang costs, as rank 0 measured it before the first one or during them.

    `compute`: seconds that each rank computes; `gradients`: MiB that the ranks exchange then;
    `bandwidth`: MiB/s that each rank sends while all exchange; `latency`: seconds that an exchange
    takes which carries next to nothing.
    """

    compute: NonNegative
    gradients: NonNegative
    bandwidth: Positive
    latency: NonNegative


class Readable(ClientMessage, tag="readable", frozen=True, kw_only=True):
    """Whether this client can read paths that it was asked for: said once of each, and again when
    it changes."""

    paths: dict[HostPath, bool]


class GangEndpoint(AboutRank, tag="gang_endpoint", frozen=True, kw_only=True):
    """Rank 0's agent listens for the other ranks of this attempt at `address`:`port`."""

    address: Annotated[str, Meta(min_length=1, max_length=255)]
    port: Annotated[int, Meta(ge=1, le=65535)]


FromClient = (
    TaskRequest
    | TaskProgress
    | TaskResult
    | Heartbeat
    | Hello
    | TaskState
    | TaskLog
    | TaskCheckpoint
    | TaskOutputs
    | GangEndpoint
    | TaskMeasured
    | TaskNote
    | Lending
    | Readable
)


# ---------------------------------------------------------------- server to client


class ServerMessage(Struct, frozen=True, tag_field="type", omit_defaults=True, kw_only=True):
    timestamp: Timestamp | None = None


class PackageRef(Struct, frozen=True):
    """A package pinned by the sha256 of its archive; `size` in bytes."""

    name: Name
    version: Name
    sha256: Sha256
    size: Natural


class CheckpointRef(Struct, frozen=True):
    """A committed checkpoint to resume from; `size` in bytes."""

    id: Identifier
    step: Natural
    size: Natural
    sha256: Sha256


class Endpoint(Struct, frozen=True):
    """Where rank 0's rendezvous store listens."""

    address: str
    port: int


class Program(Struct, frozen=True, omit_defaults=True):
    """How a task's own program is run, where it has one.

    `args`: its command line, with `resume_args` after them from the second attempt on. `outputs`:
    globs under its working folder; what they name is kept with checkpoints and at every end, and
    is there again when the next attempt begins. `mounts`: a path under the working folder for each
    path of the host that is to be seen there. `progress_from`: a regular expression over lines of
    the log whose groups `step`, `total` and others, by a metric's name, are numbers.
    """

    args: list[Argument] = []
    resume_args: list[Argument] = []
    outputs: list[Glob] = []
    mounts: dict[RelativePath, HostPath] = {}
    progress_from: str | None = None


class DataRef(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Data by its address and hash: `url` of any scheme that the client can read, or
    "aifarm:SHA256" for what was put on the farm itself, whose hash stands in it.

    `folder`: the bytes are a tar archive, and its files are to be found as a folder. `size` in
    bytes, where it is known.
    """

    url: DataUrl
    sha256: Sha256 | None = None
    folder: bool = False
    size: Natural | None = None

    @property
    def shown(self) -> str:
        """The URL as everybody may see it: without user and password."""
        return re.sub(r"://[^/?#]*@", "://***@", self.url)


class FarmAssignment(Struct, frozen=True, omit_defaults=True):
    """What an agent (not a contract-only client) is told beyond the documented fields.

    `env`: variables for the training process, beneath those that the farm sets itself.
    `environment`: the Python to train with, by a name that the agent advertises; None is its own.
    `data` by the name that the training code finds it under. `local_rank` of `local_world_size`
    ranks on this client; `gpus`: one for each of these, in their order, or none.
    """

    attempt: Count
    rank: Natural
    world_size: Count
    package: PackageRef
    local_rank: Natural = 0
    local_world_size: Count = 1
    desired: DesiredState = "running"
    gpus: tuple[Natural, ...] = ()
    resume: CheckpointRef | None = None
    endpoint: Endpoint | None = None
    env: dict[str, str] = {}
    environment: str | None = None
    program: Program = Program()
    data: dict[str, DataRef] = {}


class AssignedTask(Struct, frozen=True):
    """`config` carries the documented keys, `url`, `version` and the task's own keys."""

    id: Identifier
    type: str
    config: dict[str, JSON]
    requirements: Requirements
    farm: FarmAssignment | UnsetType = UNSET


class TaskAssignment(ServerMessage, tag="task", frozen=True, kw_only=True):
    data: AssignedTask


class Control(ServerMessage, tag="control", frozen=True, kw_only=True):
    """Desired state of a task on this client. Level-triggered: repeats are harmless."""

    action: ControlAction
    task_id: Identifier
    attempt: Count | UnsetType = UNSET


class TaskResultAck(ServerMessage, tag="task_result_ack", frozen=True, kw_only=True):
    """`received` is true once the result is durable, false when it was refused (stale attempt)."""

    task_id: Identifier
    received: bool


class ErrorBody(Struct, frozen=True):
    code: str
    message: str
    details: dict[str, JSON] = {}


class ErrorMessage(ServerMessage, tag="error", frozen=True, kw_only=True):
    """The contract's error envelope; the connection stays open."""

    error: ErrorBody


# extensions


class Verdict(Struct, frozen=True, omit_defaults=True):
    """What becomes of a rank that `hello` named: go on from `ack_seq`, or stop (stale)."""

    task_id: Identifier
    attempt: Count
    rank: Natural
    verdict: Literal["continue", "stop"]
    ack_seq: Natural = 0
    desired: DesiredState = "running"


class Welcome(ServerMessage, tag="welcome", frozen=True, kw_only=True):
    """Answer to `hello`. `lease` and `heartbeat` in seconds."""

    lease: float
    heartbeat: float
    tasks: tuple[Verdict, ...] = ()


class Ack(ServerMessage, tag="ack", frozen=True, kw_only=True):
    """All of this rank's messages up to `seq` are durable."""

    task_id: Identifier
    attempt: Count
    rank: Natural
    seq: Natural


class Withdraw(ServerMessage, tag="withdraw", frozen=True, kw_only=True):
    """This attempt is over for the farm: stop its worker at once, keep nothing."""

    task_id: Identifier
    attempt: Count
    rank: Natural


class Look(ServerMessage, tag="look", frozen=True, kw_only=True):
    """Asks whether the client can read these paths, now and for as long as this connection
    stands. Answered by `readable`."""

    paths: tuple[HostPath, ...]


class GangStart(ServerMessage, tag="gang_start", frozen=True, kw_only=True):
    """Second phase: every rank of the attempt may start its worker."""

    task_id: Identifier
    attempt: Count
    rank: Natural
    endpoint: Endpoint


FromServer = (
    TaskAssignment
    | Control
    | TaskResultAck
    | ErrorMessage
    | Welcome
    | Ack
    | Withdraw
    | GangStart
    | Look
)
