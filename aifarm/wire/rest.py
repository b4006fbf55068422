"""Bodies of the REST API, once. Version 1 is the documented contract, exactly; version 2 is ours.

Requests refuse unknown fields. In version 1 an unknown number is 0.0; in version 2 it is null.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from aifarm.wire.agent import ErrorBody, Resources
from aifarm.wire.query import TaskFilter
from aifarm.wire.types import (
    JSON,
    Count,
    DesiredState,
    Direction,
    EnvName,
    Identifier,
    Label,
    Metrics,
    Name,
    Natural,
    Project,
    Requirements,
    Sha256,
    Tag,
    Text,
    Timestamp,
    Title,
)

PART_SIZE = 8 << 20
"""Bytes in one part of an upload, at most."""

MAX_BODY = 1 << 20
"""Bytes in a JSON body."""

URL = r"^(https?://|/models/)[!-~]+$(?!\n)"
"""Of a model: http or https, in the characters that a URL has; or a path on the farm itself."""

# ---------------------------------------------------------------- requests


class Request(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    pass


class RequirementsBody(Requirements, frozen=True, forbid_unknown_fields=True):
    """As in answers, but a misspelt requirement is refused."""


Tags = Annotated[list[Tag], Meta(max_length=64)]


class CreateTask(Request, frozen=True, kw_only=True):
    """POST /api/tasks. The documented fields, and optional extensions from `config` on.

    `url` may be left out where name and version say which package; `n_clients` above 1 needs
    `distributed`. Own hyperparameters go under `config`. `max_retries` counts failures of the
    task's own code; a lost agent is always tried again.

    `from_checkpoint` is the id of a checkpoint to begin with, or of a task, for the one that this
    would resume from; the task it belongs to becomes the `parent`, unless another is named.
    `best` says which end of a metric is the good one; where it does not, that is the lowest for
    names with "loss" or "error" in them and the highest for others. `env` is set in the training
    process, beneath what the farm sets there itself; its values are shown to the submitter and
    administrators only.
    """

    type: Literal["training"] = "training"
    name: Name
    url: Annotated[str, Meta(pattern=URL, max_length=2048)] | None = None
    version: Name | None = None
    batch_size: Annotated[int, Meta(ge=1, le=2**31)] | None = None
    learning_rate: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    epochs: Annotated[int, Meta(ge=1, le=2**31)] | None = None
    distributed: bool = False
    requirements: RequirementsBody = RequirementsBody()
    n_clients: Annotated[int, Meta(ge=1, le=1024)] = 1
    config: dict[str, JSON] = {}
    priority: Annotated[int, Meta(ge=-1000, le=1000)] = 0
    share_gpu: bool = False
    max_retries: Annotated[int, Meta(ge=0, le=100)] = 0
    project: Project | None = None
    title: Title | None = None
    tags: Tags = []
    notes: Text | None = None
    parent: Identifier | None = None
    from_checkpoint: Identifier | None = None
    best: Annotated[dict[str, Direction], Meta(max_length=256)] = {}
    env: Annotated[dict[EnvName, Text], Meta(max_length=128)] = {}


class EditTask(Request, frozen=True, kw_only=True):
    """PATCH /api/v2/tasks/{id}. What is absent stays; null removes; `tags` replaces all."""

    project: Project | UnsetType | None = UNSET
    title: Title | UnsetType | None = UNSET
    tags: Tags | UnsetType = UNSET
    notes: Text | UnsetType | None = UNSET


class RetryTask(Request, frozen=True, kw_only=True):
    """POST /api/v2/tasks/{id}/retry. `from_checkpoint` is "latest", the id of one of the task's
    checkpoints, or null to begin anew. A task without any checkpoint begins anew."""

    from_checkpoint: Literal["latest"] | Identifier | None = "latest"


class PinCheckpoint(Request, frozen=True, kw_only=True):
    """PUT /api/v2/tasks/{id}/checkpoints/{id}/pin."""

    pinned: bool


BulkAction = Literal["pause", "resume", "stop", "delete", "restore", "retry", "tag", "untag"]


class BulkTasks(Request, frozen=True, kw_only=True):
    """POST /api/v2/tasks/bulk. Either `ids` or a `filter` says which tasks, at most 1,000.

    `tags` are those to add or take away; `reason` goes with pause, resume and stop.
    """

    action: BulkAction
    ids: Annotated[list[Identifier], Meta(min_length=1, max_length=1000)] | None = None
    filter: TaskFilter | None = None
    tags: Tags = []
    reason: Text | None = None


class UpdateStatus(Request, frozen=True, kw_only=True):
    """PUT /api/tasks/{id}/status."""

    status: DesiredState
    reason: Text | None = None


class DrainClient(Request, frozen=True, kw_only=True):
    """Whether a client is to get no new tasks; what it runs goes on. `reason` is shown to all."""

    drained: bool
    reason: Text | None = None


class CreateToken(Request, frozen=True, kw_only=True):
    """`expires` in seconds from now. An agent's token may be bound to one `client_id`, or to
    agents that carry one `label`, written NAME=VALUE."""

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    role: Literal["admin", "researcher", "viewer", "agent"]
    client_id: Name | None = None
    label: Label | None = None
    expires: Annotated[float, Meta(gt=0, le=10 * 366 * 86400)] | None = None


class CreateUpload(Request, frozen=True, kw_only=True):
    """An agent announces a checkpoint of `size` bytes."""

    task_id: str
    attempt: Count
    rank: Natural
    size: Annotated[int, Meta(ge=1, le=2**44)]
    sha256: Sha256


# ---------------------------------------------------------------- answers, version 1


class ErrorEnvelope(Struct, frozen=True):
    error: ErrorBody


class TaskRow(Struct, frozen=True):
    id: str
    type: str
    status: str
    progress: float
    created_at: Timestamp
    updated_at: Timestamp


class TaskList(Struct, frozen=True):
    tasks: list[TaskRow]
    total: int
    page: int


class TaskCreated(Struct, frozen=True):
    id: str
    status: str
    created_at: Timestamp


class TaskDetails(Struct, frozen=True):
    id: str
    type: str
    status: str
    progress: float
    metrics: dict[str, float]
    config: dict[str, JSON]
    requirements: Requirements
    created_at: Timestamp
    updated_at: Timestamp


class StatusUpdated(Struct, frozen=True):
    id: str
    status: str
    updated_at: Timestamp


class GpuMemory(Struct, frozen=True):
    total: int
    used: int


class GpuRow(Struct, frozen=True):
    id: int
    name: str
    memory: GpuMemory


class CpuRow(Struct, frozen=True):
    cores: int
    usage: float


class RamRow(Struct, frozen=True):
    total: int
    used: int


class ResourcesRow(Struct, frozen=True):
    """As in the list of clients, where the page prints `gpu` as an object, by GPU id."""

    cpu: CpuRow
    ram: RamRow
    gpu: dict[str, GpuRow]


class ResourcesDetails(Struct, frozen=True):
    """As in a client's details, where the page prints `gpu` as an array."""

    cpu: CpuRow
    ram: RamRow
    gpu: list[GpuRow]


class ClientRow(Struct, frozen=True):
    id: str
    status: str
    resources: ResourcesRow
    last_seen: Timestamp


class ClientList(Struct, frozen=True):
    clients: list[ClientRow]


class ClientTask(Struct, frozen=True):
    id: str
    status: str
    progress: float


class Performance(Struct, frozen=True):
    """`average_time` in seconds; `success_rate` 0..1 of the attempts that ended here."""

    completed_tasks: int
    average_time: float
    success_rate: float


class ClientDetails(Struct, frozen=True):
    id: str
    status: str
    resources: ResourcesDetails
    tasks: list[ClientTask]
    performance: Performance
    last_seen: Timestamp


class ClientCounts(Struct, frozen=True):
    total: int
    active: int


class TaskCounts(Struct, frozen=True):
    total: int
    running: int
    completed: int
    failed: int


class Usage(Struct, frozen=True):
    """Means in percent, 0.0 where unknown."""

    cpu_usage: float
    ram_usage: float
    gpu_usage: float


class SystemMetrics(Struct, frozen=True):
    """`resources`: over all active clients."""

    clients: ClientCounts
    tasks: TaskCounts
    resources: Usage
    timestamp: Timestamp


class TaskMetrics(Struct, frozen=True):
    """`resources`: over the clients that hold the task."""

    progress: float
    metrics: dict[str, float]
    resources: Usage
    timestamp: Timestamp


# ---------------------------------------------------------------- answers, version 2


class MetricSummary(Struct, frozen=True):
    """One metric of rank 0 over all attempts; `best` is `min` or `max`, by the task's `best`."""

    name: str
    count: int
    last: float | None
    min: float | None
    max: float | None
    last_step: int
    best: float | None = None


class TaskFull(Struct, frozen=True):
    """Everything about a task. `clients` by rank number. `status` is the observed state.

    `from_checkpoint` is what it began with. The values in `env` are null for all but the submitter
    and administrators. `deleted_at`: since when it is in the trash. `summaries` of its metrics are
    there in its details, and in a list that was asked for them.
    """

    id: str
    type: str
    name: str
    version: str | None
    url: str | None
    package_sha256: str | None
    status: str
    desired: str
    attempt: int
    cause: str | None
    message: str | None
    progress: float
    metrics: Metrics
    config: dict[str, JSON]
    requirements: Requirements
    distributed: bool
    n_clients: int
    priority: int
    share_gpu: bool
    max_retries: int
    submitter: str
    clients: list[str]
    checkpoint_id: str | None
    created_at: Timestamp
    updated_at: Timestamp
    started_at: Timestamp | None
    ended_at: Timestamp | None
    project: str | None = None
    title: str | None = None
    tags: list[str] = []
    notes: str | None = None
    parent: str | None = None
    from_checkpoint: str | None = None
    best: dict[str, Direction] = {}
    env: dict[str, str | None] = {}
    deleted_at: Timestamp | None = None
    summaries: list[MetricSummary] | UnsetType = UNSET


class TaskFullList(Struct, frozen=True):
    """`next_cursor`: pass as `cursor` for what follows, null at the end. An answer to a `cursor`
    does not count: `total` and `page` are null."""

    tasks: list[TaskFull]
    total: int | None
    page: int | None
    next_cursor: str | None = None


class BulkResult(Struct, frozen=True):
    """What became of one task: `task`, which for a retry is the new one, or `error`."""

    id: str
    task: TaskFull | None = None
    error: ErrorBody | None = None


class BulkResults(Struct, frozen=True):
    """In the order of `ids`, or of the list."""

    results: list[BulkResult]


class StatusFull(Struct, frozen=True):
    id: str
    desired: str
    observed: str
    updated_at: Timestamp


class Holder(Struct, frozen=True):
    """A task that holds what another one waits for."""

    id: str
    submitter: str


class Missing(Struct, frozen=True):
    """Why one client does not take a waiting task now.

    `never`: it is too small, whatever ends on it; otherwise it is busy (with `tasks`, where it is
    tasks that hold what is missing), away, drained or taken back.
    """

    client: str
    reason: str
    never: bool = False
    tasks: list[Holder] = []


class Why(Struct, frozen=True):
    """`summary` in one sentence; `clients` the first requirement that each one misses.

    `position`: its place in the queue, 1 is next; null when it does not wait or is far behind.
    `hints`: what would let it start, each in one sentence, the nearest first.
    """

    id: str
    status: str
    summary: str
    clients: list[Missing]
    position: int | None = None
    hints: list[str] = []


class Check(Struct, frozen=True):
    """What would become of a submission; nothing is stored.

    `would_start`: enough clients are free now. `fits`: those it could start on at once; `could`:
    those that are large enough, and busy, away, drained or taken back now; `misses`: why each
    client that is not in `fits` is not. `position` in the queue if it had to wait, 1 is next;
    null is far behind. `hints` as in `Why`.
    """

    would_start: bool
    position: int | None
    fits: list[str]
    could: list[str]
    misses: list[Missing]
    summary: str
    hints: list[str]


class RankFull(Struct, frozen=True):
    """One rank of an attempt. `seq`: how many of its messages are durable, null once it has let go
    of its client. `state`: as last observed; null of an attempt that another has followed.
    `provenance`: what its worker said of itself, empty until it runs."""

    rank: int
    client: str
    seq: int | None
    state: str | None
    provenance: dict[str, JSON]


class AttemptFull(Struct, frozen=True):
    """One try. `clients` by rank number; `provenance` by rank number as text, as in `ranks`."""

    attempt: int
    clients: list[str]
    assigned_at: Timestamp
    started_at: Timestamp | None
    ended_at: Timestamp | None
    outcome: str | None
    message: str | None
    provenance: dict[str, JSON]
    ranks: list[RankFull]


class AttemptList(Struct, frozen=True):
    attempts: list[AttemptFull]


class EventFull(Struct, frozen=True):
    id: int
    at: Timestamp
    kind: str
    message: str
    task_id: str | None
    client_id: str | None
    attempt: int | None


class EventList(Struct, frozen=True):
    """`next`: pass as `after` for what follows."""

    events: list[EventFull]
    next: int


class LogPage(Struct, frozen=True):
    """Lines `first` .. `next` - 1 of one rank's output; `total` lines exist so far."""

    attempt: int
    rank: int
    first: int
    next: int
    total: int
    lines: list[str]


class MetricSeries(Struct, frozen=True):
    """Columns of equal length. Down-sampled: `min`, `max` of a bucket around its last value."""

    name: str
    step: list[int]
    time: list[float]
    value: list[float | None]
    min: list[float | None]
    max: list[float | None]
    total: int


class MetricHistory(Struct, frozen=True):
    series: list[MetricSeries]
    summaries: list[MetricSummary]


class CheckpointFull(Struct, frozen=True):
    """`path`: where GET finds its bytes, relative to the farm's URL. `pinned`: kept until it is
    unpinned."""

    id: str
    attempt: int
    step: int
    epoch: int | None
    progress: float
    size: int
    sha256: str
    metrics: Metrics
    final: bool
    path: str
    created_at: Timestamp
    pinned: bool = False


class CheckpointList(Struct, frozen=True):
    checkpoints: list[CheckpointFull]


class PackageFull(Struct, frozen=True):
    """`path`: where GET finds its archive. `manifest`, its aifarm.json, is in its details only."""

    name: str
    version: str
    kind: str
    sha256: str
    size: int
    publisher: str
    path: str
    created_at: Timestamp
    manifest: dict[str, JSON] | UnsetType = UNSET


class PackageList(Struct, frozen=True):
    packages: list[PackageFull]
    total: int = 0
    page: int = 1


class TokenFull(Struct, frozen=True):
    """`token` is the secret, shown only in the answer to its creation."""

    id: str
    name: str
    role: str
    client_id: str | None
    created_at: Timestamp
    expires_at: Timestamp | None
    revoked_at: Timestamp | None
    label: str | None = None
    token: str | UnsetType = UNSET


class TokenList(Struct, frozen=True):
    tokens: list[TokenFull]


class UploadFull(Struct, frozen=True):
    """`parts`: numbers stored so far."""

    id: str
    part_size: int
    parts: list[int]


class ClientFull(Struct, frozen=True):
    id: str
    status: str
    speaks: str
    hostname: str
    agent_version: str
    labels: dict[str, str]
    resources: Resources | None
    tasks: list[ClientTask]
    drained: str | None
    last_seen: Timestamp


class PerformanceFull(Struct, frozen=True):
    """Attempts that ended on a client. `average_time`: seconds of the completed ones;
    `success_rate` 0..1; null where nothing has ended yet."""

    completed_tasks: int
    ended_attempts: int
    average_time: float | None
    success_rate: float | None


class ClientFullDetails(ClientFull, frozen=True):
    performance: PerformanceFull


class GpuHistory(Struct, frozen=True):
    """One GPU over time: MiB in use, percent, and °C."""

    id: int
    memory_used: list[float | None]
    utilization: list[float | None]
    temperature: list[float | None]


class ClientHistory(Struct, frozen=True):
    """What a client used over time: columns of equal length, means of `seconds` each.

    `cpu` and `ram` in percent. Unknown is null, and where the client was away there is no entry.
    """

    client: str
    seconds: float
    time: list[Timestamp]
    cpu: list[float | None]
    ram: list[float | None]
    gpus: list[GpuHistory]


class ClientFullList(Struct, frozen=True):
    clients: list[ClientFull]


class Health(Struct, frozen=True):
    """`standby`: the server lives, and another one leads the farm. `ready`: this one does, and
    can write."""

    status: Literal["ok", "ready", "standby"]
    version: str


class System(Struct, frozen=True):
    """The server. `queued` operations wait for the writer, `clients` and `sockets` are connected;
    the data folder's disk in MiB; `uptime` in seconds."""

    version: str
    database: str
    uptime: float
    queued: int
    clients: int
    sockets: int
    disk_total: int
    disk_free: int
