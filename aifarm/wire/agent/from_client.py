"""What a client says to the server.

What stands below "extensions" is spoken only by an agent, which said `hello`.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from aifarm.wire.agent.resources import Environment, Resources, SystemInfo
from aifarm.wire.types import (
    JSON,
    Count,
    HostPath,
    Identifier,
    Metric,
    Metrics,
    Natural,
    NonNegative,
    Outcome,
    Percent,
    Positive,
    RelativePath,
    Sha256,
    Text,
    Timestamp,
)

MAX_OUTPUTS = 10_000
"""Files that one task may keep."""

MAX_OUTPUT_BYTES = 1 << 40
"""Bytes that the files of one task may have together."""

OUTPUTS_AT_ONCE = 250
"""Files of one message, so that it stays within MAX_MESSAGE however long their paths are."""

# (step, time in seconds since the epoch, {name: value})
Point = tuple[Natural, float, Metrics]


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
