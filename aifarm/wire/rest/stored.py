"""What the farm stores: checkpoints, outputs, packages, data, and uploads on their way."""

from msgspec import UNSET, Struct, UnsetType

from aifarm.wire.types import JSON, DataKind, Metrics, RelativePath, Timestamp


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
    wrote it, 0 where it comes from the task that this one goes on from; when the farm got it."""

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


class UploadFull(Struct, frozen=True):
    """`parts`: numbers stored so far."""

    id: str
    part_size: int
    parts: list[int]
