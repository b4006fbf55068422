"""What the farm keeps, as immutable values: rows of the store, entries of the views."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

from aifarm.core.pace import Pace
from aifarm.core.task import RankKey, Task
from aifarm.wire.agent import (
    CheckpointRef,
    DataRef,
    Environment,
    PackageRef,
    Point,
    Program,
    Resources,
)
from aifarm.wire.types import JSON, DataKind, Direction, Metrics, Purpose

Role = Literal["admin", "researcher", "viewer", "agent"]


class TaskSpec(Struct, frozen=True):
    """What was submitted; never changes. `config` is what the training code sees.

    `url` is the package's address as submitted, if one was given; `package` is what it was
    pinned to, None while the farm does not have it. `parent` and `from_checkpoint` are ids: of the
    task that it goes back to, and of what it began with. `env` holds secrets: not for everybody.
    `environment` is a name that clients advertise; `data` what they fetch.
    """

    type: str
    name: str
    config: dict[str, JSON]
    version: str | None = None
    url: str | None = None
    distributed: bool = False
    package: PackageRef | None = None
    parent: str | None = None
    from_checkpoint: str | None = None
    best: dict[str, Direction] = {}
    env: dict[str, str] = {}
    environment: str | None = None
    program: Program = Program()
    data: dict[str, DataRef] = {}


class About(Struct, frozen=True):
    """What people say about a task, during its life and after it."""

    project: str | None = None
    title: str | None = None
    tags: tuple[str, ...] = ()
    notes: str | None = None


class TaskRecord(Struct, frozen=True):
    """A task, whole. `metrics` are the latest of each name; `checkpoint` the one to resume from;
    `deleted_at`: since when it is in the trash."""

    task: Task
    spec: TaskSpec
    progress: float = 0.0
    metrics: Metrics = {}
    checkpoint: CheckpointRef | None = None
    deleted_at: float | None = None
    about: About = About()

    @property
    def deleted(self) -> bool:
        return self.deleted_at is not None


class ClientRecord(Struct, frozen=True):
    """What outlives a client's connection. `token_id` used this Client-ID first and owns it."""

    id: str
    token_id: str
    created_at: float
    last_seen: float
    speaks: Literal["agent", "contract"] = "contract"
    machine_id: str | None = None
    boot_id: str | None = None
    hostname: str = ""
    agent_version: str = ""
    labels: dict[str, str] = {}
    environments: tuple[Environment, ...] = ()
    resources: Resources | None = None
    drained: str | None = None


class GpuSample(Struct, frozen=True, array_like=True):
    """`memory` in use in MiB, `utilization` in percent, `temperature` in °C; None is unknown."""

    id: int
    memory: float | None = None
    utilization: float | None = None
    temperature: float | None = None


class ClientSample(Struct, frozen=True, array_like=True):
    """What a client used at one moment, or on average from then on. `cpu`, `ram` in percent."""

    at: float
    cpu: float | None = None
    ram: float | None = None
    gpus: tuple[GpuSample, ...] = ()


class AttemptRecord(Struct, frozen=True):
    """One try of a task. `provenance` by rank number, as the workers reported it."""

    task_id: str
    attempt: int
    clients: tuple[str, ...]
    assigned_at: float
    started_at: float | None = None
    ended_at: float | None = None
    outcome: str | None = None
    message: str | None = None
    provenance: dict[str, JSON] = {}


class EventRecord(Struct, frozen=True):
    """One row of the story. `id` grows by one and numbers the live feed."""

    id: int
    at: float
    kind: str
    message: str
    task_id: str | None = None
    client_id: str | None = None
    attempt: int | None = None


class Part(Struct, frozen=True):
    """One stored piece of a large file; `size` in bytes."""

    number: int
    size: int
    sha256: str


class UploadRecord(Struct, frozen=True):
    """A large file on its way: `key` is where its parts lie."""

    id: str
    task_id: str
    attempt: int
    rank: int
    key: str
    size: int
    sha256: str
    part_size: int
    created_at: float
    parts: tuple[Part, ...] = ()
    purpose: Purpose = "checkpoint"


class CheckpointRecord(Struct, frozen=True):
    """A committed checkpoint; its bytes are the parts under `key`, in order. `best`: none before
    it was better, by the metric that its task names."""

    id: str
    task_id: str
    attempt: int
    step: int
    size: int
    sha256: str
    key: str
    parts: tuple[Part, ...]
    created_at: float
    epoch: int | None = None
    progress: float = 0.0
    metrics: Metrics = {}
    final: bool = False
    pinned: bool = False
    best: bool = False


class OutputRecord(Struct, frozen=True):
    """A file that a task keeps, as it is now; its bytes are the parts under `key`, in order, which
    files of equal content share. An empty one has none."""

    task_id: str
    path: str
    attempt: int
    size: int
    sha256: str
    key: str
    parts: tuple[Part, ...]
    created_at: float


class DataRecord(Struct, frozen=True):
    """Data by the sha256 of its bytes, which are the parts under `key`, in order. Until it is
    `complete` it is on its way, and its `putter`'s alone."""

    sha256: str
    putter: str
    name: str
    kind: DataKind
    size: int
    key: str
    created_at: float
    parts: tuple[Part, ...] = ()
    complete: bool = False


class PackageRecord(Struct, frozen=True):
    """A published package; immutable. `manifest` is its aifarm.json as JSON text."""

    name: str
    version: str
    sha256: str
    size: int
    kind: str
    manifest: str
    key: str
    parts: tuple[Part, ...]
    publisher: str
    created_at: float


class PaceRecord(Struct, frozen=True):
    """What a step of a package cost the latest time that this gang trained it. `package`: its
    archive's sha256; `gang`: a digest of the clients."""

    package: str
    gang: str
    at: float
    pace: Pace


class TokenRecord(Struct, frozen=True):
    """A token; `digest` is the sha256 of its secret, which is nowhere kept. An agent's may be
    bound to one `client_id`, or to clients that carry one `label` ("NAME=VALUE")."""

    id: str
    name: str
    role: Role
    digest: str
    created_at: float
    client_id: str | None = None
    expires_at: float | None = None
    revoked_at: float | None = None
    label: str | None = None


class LoginRecord(Struct, frozen=True):
    """A browser that logged in with a token; `digest` is the sha256 of what its cookie holds."""

    digest: str
    token_id: str
    created_at: float
    expires_at: float


class LogLines(Struct, frozen=True):
    """Consecutive lines of one rank's output; `first` numbers from 0 within (attempt, rank).

    `open`: of the line after them, what there is so far; it is not stored.
    """

    key: RankKey
    first: int
    lines: tuple[str, ...]
    open: str = ""


class SummaryRecord(Struct, frozen=True):
    """One metric of one task's rank 0 over all attempts."""

    name: str
    count: int
    last: float
    min: float
    max: float
    last_step: int


class MetricPart(NamedTuple):
    """Consecutive points of one metric, columns of equal length; NaN is no number."""

    name: str
    step: Sequence[int]
    time: Sequence[float]
    value: Sequence[float]


class Series(Struct, frozen=True):
    """A metric's history, columns of equal length. Down-sampled: `min` and `max` of each bucket
    around `value`, its last; otherwise both equal `value`."""

    name: str
    step: list[int]
    time: list[float]
    value: list[float]
    min: list[float]
    max: list[float]
    total: int


Points = list[Point]
