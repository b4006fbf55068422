"""Bodies of requests, once, for both versions of the REST API. Unknown fields are refused."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from aifarm.wire.agent import DataRef
from aifarm.wire.query import TaskFilter
from aifarm.wire.types import (
    JSON,
    Argument,
    Count,
    DataKind,
    DesiredState,
    Direction,
    EnvName,
    Glob,
    HostPath,
    Identifier,
    Label,
    Name,
    Natural,
    Processes,
    Project,
    Purpose,
    RelativePath,
    Requirements,
    Sha256,
    Tag,
    Text,
    Title,
)

PART_SIZE = 8 << 20
"""Bytes in one part of an upload, at most."""

MAX_BODY = 1 << 20
"""Bytes in a JSON body."""

URL = r"^(https?://|/models/)[!-~]+$(?!\n)"
"""Of a model: http or https, in the characters that a URL has; or a path on the farm itself."""


class Request(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    pass


class RequirementsBody(Requirements, frozen=True, forbid_unknown_fields=True):
    """As in answers, but a misspelt requirement is refused."""


Tags = Annotated[list[Tag], Meta(max_length=64)]


class CreateTask(Request, frozen=True, kw_only=True):
    """POST /api/tasks. The documented fields, and optional extensions from `config` on.

    `url` may be left out where name and version say which package; `n_clients` above 1 needs
    `distributed`. `processes_per_client` ranks run on each client, each with these requirements
    and a GPU of its own, and need `distributed` too; "gpu" means one for each GPU that the clients
    have free, the same number on all of them. Own hyperparameters go under `config`. `max_retries`
    counts failures of the task's own code; a lost agent is always tried again.

    `from_checkpoint` is the id of a checkpoint to begin with, or of a task, for the one that this
    would resume from, or "ID:best" for the best one of the task with this id; the task it belongs
    to becomes the `parent`, unless another is named. With a task's latest state come the files that
    it keeps, as far as `outputs` name them.
    `best` says which end of a metric is the good one; where it does not, that is the lowest for
    names with "loss" or "error" in them and the highest for others. `env` is set in the training
    process, beneath what the farm sets there itself; its values are shown to the submitter and
    administrators only.

    `environment` names a Python that clients advertise; without it the agent's own trains. `args`,
    `resume_args`, `outputs`, `mounts` and `progress_from` are for scripts: the command line; what
    is added to it from the second attempt on; globs of the files that are kept with checkpoints
    and at every end; by paths under the working folder, the host's paths to be seen there, which a
    client must be able to read; and a regular expression over lines of the log, whose groups
    `step`, `total` and others, named like metrics, are numbers. `data`, by a name, is what each
    client fetches once.
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
    processes_per_client: Processes = 1
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
    environment: Name | None = None
    args: Annotated[list[Argument], Meta(max_length=1024)] = []
    resume_args: Annotated[list[Argument], Meta(max_length=1024)] = []
    outputs: Annotated[list[Glob], Meta(max_length=64)] = []
    mounts: Annotated[dict[RelativePath, HostPath], Meta(max_length=64)] = {}
    progress_from: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None
    data: Annotated[dict[Name, DataRef], Meta(max_length=64)] = {}


class EditTask(Request, frozen=True, kw_only=True):
    """PATCH /api/v2/tasks/{id}. What is absent stays; null removes; `tags` replaces all."""

    project: Project | UnsetType | None = UNSET
    title: Title | UnsetType | None = UNSET
    tags: Tags | UnsetType = UNSET
    notes: Text | UnsetType | None = UNSET


class RetryTask(Request, frozen=True, kw_only=True):
    """POST /api/v2/tasks/{id}/retry. `from_checkpoint` is "latest", "best", the id of one of the
    task's checkpoints, "origin" for what the task itself began with, or null to begin anew. With
    the latest checkpoint, or where there is none, come the files that the task keeps; one that has
    neither begins anew."""

    from_checkpoint: Literal["latest", "best", "origin"] | Identifier | None = "latest"


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
    """An agent announces a file of `size` bytes: a checkpoint, or an output of the task."""

    task_id: str
    attempt: Count
    rank: Natural
    size: Annotated[int, Meta(ge=1, le=2**44)]
    sha256: Sha256
    purpose: Purpose = "checkpoint"


class CreateData(Request, frozen=True, kw_only=True):
    """POST /api/v2/data. `size` in bytes and `sha256` of what is to be sent: for a folder of its
    tar archive, for an array of its .npy file. `name` is for people."""

    sha256: Sha256
    size: Annotated[int, Meta(ge=0, le=2**36)]
    name: Annotated[str, Meta(min_length=1, max_length=256)]
    kind: DataKind = "file"
