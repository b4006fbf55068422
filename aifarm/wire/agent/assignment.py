"""What an agent is given to run: a task, and what it refers to."""

import re

from msgspec import UNSET, Struct, UnsetType

from aifarm.wire.types import (
    JSON,
    Argument,
    Count,
    DataUrl,
    DesiredState,
    Glob,
    HostPath,
    Identifier,
    Name,
    Natural,
    RelativePath,
    Requirements,
    Sha256,
)


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
