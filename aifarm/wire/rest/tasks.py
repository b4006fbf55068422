"""Tasks: what was asked for, how it stands, and why one waits."""

from msgspec import UNSET, Struct, UnsetType

from aifarm.wire.agent import DataRef, ErrorBody
from aifarm.wire.types import JSON, Direction, Metrics, Processes, Requirements, Timestamp


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
