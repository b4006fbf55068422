"""Answers of version 2 of the REST API, and errors. An unknown number is null."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from aifarm.wire.agent import DataRef, Environment, ErrorBody, Resources
from aifarm.wire.types import (
    JSON,
    DataKind,
    Direction,
    Metrics,
    Processes,
    RelativePath,
    Requirements,
    Timestamp,
)
from aifarm.wire.v1 import ClientCounts, ClientTask


class ErrorEnvelope(Struct, frozen=True):
    error: ErrorBody


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
    processes_per_client: Processes
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
    environment: str | None = None
    args: list[str] = []
    resume_args: list[str] = []
    outputs: list[str] = []
    mounts: dict[str, str] = {}
    progress_from: str | None = None
    data: dict[str, DataRef] = {}
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
    null is far behind. `hints` as in `Why`. `pace` says of several clients how long a step will
    take, `step_seconds`, as far as that was measured before, and whether one alone would be faster.
    """

    would_start: bool
    position: int | None
    fits: list[str]
    could: list[str]
    misses: list[Missing]
    summary: str
    hints: list[str]
    pace: str | None = None
    step_seconds: float | None = None


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
    unpinned. `best`: none before it was better, by the metric that the task's config names; the
    latest such one is the task's best."""

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
    best: bool = False


class CheckpointList(Struct, frozen=True):
    checkpoints: list[CheckpointFull]


class OutputFull(Struct, frozen=True):
    """A file that a task keeps: `path` under its working folder, `size` in bytes; which attempt
    wrote it, and when the farm got it."""

    path: RelativePath
    size: int
    sha256: str
    attempt: int
    created_at: Timestamp


class OutputList(Struct, frozen=True):
    outputs: list[OutputFull]


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
    """`total`, `page` and `next_cursor` as in the list of tasks."""

    packages: list[PackageFull]
    total: int | None = None
    page: int | None = None
    next_cursor: str | None = None


class DataFull(Struct, frozen=True):
    """Data on the farm. `url`: how tasks name it. `kind`: a "file", a "folder" as a tar archive,
    or an "array" as a .npy file; `size` in bytes; `putter` brought it first."""

    sha256: str
    name: str
    kind: DataKind
    size: int
    putter: str
    url: str
    created_at: Timestamp


class DataList(Struct, frozen=True):
    data: list[DataFull]
    total: int | None
    page: int | None
    next_cursor: str | None = None


class DataUpload(Struct, frozen=True):
    """What is still to be sent. `parts`: numbers stored so far; `data` once all of it is there,
    and then nothing needs to be sent."""

    part_size: int
    parts: list[int]
    data: DataFull | None = None


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
    """`total`, `page` and `next_cursor` as in the list of tasks."""

    tokens: list[TokenFull]
    total: int | None = None
    page: int | None = None
    next_cursor: str | None = None


class UploadFull(Struct, frozen=True):
    """`parts`: numbers stored so far."""

    id: str
    part_size: int
    parts: list[int]


class ClientTaskFull(ClientTask, frozen=True):
    """A task with a rank on a client. `gpus`: those that it holds there, by their ids."""

    gpus: list[int]


class ClientFull(Struct, frozen=True):
    """A workstation. `status`: whether it is connected. `lends`: false while its owner has taken
    it back. `drained`: why the farm gives it no new tasks, null where it does. `resources` as it
    last said."""

    id: str
    status: str
    speaks: str
    hostname: str
    agent_version: str
    labels: dict[str, str]
    environments: list[Environment]
    resources: Resources | None
    tasks: list[ClientTaskFull]
    lends: bool
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
    """`total`, `page` and `next_cursor` as in the list of tasks."""

    clients: list[ClientFull]
    total: int | None = None
    page: int | None = None
    next_cursor: str | None = None


class Health(Struct, frozen=True):
    """`standby`: the server lives, and another one leads the farm. `ready`: this one does, and
    can write."""

    status: Literal["ok", "ready", "standby"]
    version: str


class UsageFull(Struct, frozen=True):
    """Means in percent over all active clients, null where nobody measured."""

    cpu: float | None
    ram: float | None
    gpu: float | None


class FarmMetrics(Struct, frozen=True):
    """How busy the farm is. `tasks`: how many by state. `ended_last_hour`: tasks that reached
    their end; `points_per_second`: metric points that came in over the last minute. The server
    counts these two since its start at most."""

    clients: ClientCounts
    tasks: dict[str, int]
    usage: UsageFull
    ended_last_hour: int
    points_per_second: float


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
