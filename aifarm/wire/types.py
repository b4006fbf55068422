"""Constrained types that messages and bodies share. Units: MiB, percent, seconds, UTC."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

# `$` alone would let a line end pass at the end of a name.
_ID = r"^[A-Za-z0-9._@:+-]+$(?!\n)"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$(?!\n)"

Identifier = Annotated[str, Meta(min_length=1, max_length=128, pattern=_ID)]
Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=_NAME)]
Title = Annotated[str, Meta(min_length=1, max_length=256)]
Project = Annotated[str, Meta(min_length=1, max_length=128)]
Tag = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x20\x7f-\xa0,]+$(?!\n)")]
EnvName = Annotated[str, Meta(max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$(?!\n)")]
Label = Annotated[str, Meta(max_length=256, pattern=r"^[^=\s]+=[^\r\n]*$(?!\n)")]
Text = Annotated[str, Meta(max_length=4096)]
Argument = Annotated[str, Meta(max_length=4096, pattern=r"^[^\x00]*$")]
# Under a folder, and never out of it.
Glob = Annotated[
    str,
    Meta(min_length=1, max_length=512, pattern=r"^(?!/)(?!(.*/)?\.\.(/|$))[^\x00-\x1f\\]+$"),
]
RelativePath = Glob
HostPath = Annotated[str, Meta(min_length=2, max_length=4096, pattern=r"^/[^\x00-\x1f]+$")]
# Of any scheme; "aifarm:" is the farm's own, and what follows says all.
DataUrl = Annotated[
    str,
    Meta(
        max_length=4096,
        pattern=r"^(aifarm:[0-9a-f]{64}|(?!aifarm:)[a-z][a-z0-9+.-]*:[^\x00-\x1f\x7f]+)$(?!\n)",
    ),
]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
IdempotencyKey = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[!-~]+$")]
NonNegative = Annotated[float, Meta(ge=0)]
Positive = Annotated[float, Meta(gt=0)]
# So many ranks of a task on each of its clients, or one for each GPU that these have free.
Processes = Annotated[int, Meta(ge=1, le=64)] | Literal["gpu"]
Percent = Annotated[float, Meta(ge=0, le=100)]
Natural = Annotated[int, Meta(ge=0, le=2**53)]
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Timestamp = Annotated[datetime, Meta(tz=True)]

# JSON has no NaN: a value that is not a finite number travels as null.
Metric = float | None
Metrics = dict[str, Metric]

ControlAction = Literal["pause", "resume", "stop"]
DesiredState = Literal["running", "paused", "stopped"]
Outcome = Literal["completed", "failed", "stopped"]
Direction = Literal["min", "max"]
Purpose = Literal["checkpoint", "output"]
DataKind = Literal["file", "folder", "array"]

# Any JSON value: msgspec has no recursive types; `codec` bounds the depth.
JSON = Any


class Requirements(Struct, frozen=True):
    """What one rank of a task needs of a client; memory in MiB. 0 GPU memory: no GPU needed."""

    min_gpu_memory: Annotated[int, Meta(ge=0, le=2**31)] = 0
    min_cpu_cores: Annotated[int, Meta(ge=0, le=4096)] = 1
    min_ram: Annotated[int, Meta(ge=0, le=2**31)] = 1


def utc(seconds: float) -> datetime:
    """`seconds` since the epoch as the wire shows it (ISO 8601, `Z`)."""
    return datetime.fromtimestamp(seconds, UTC)


def whole_seconds(seconds: float) -> datetime:
    """As `utc`, cut to whole seconds: what version 1 of the API shows."""
    return datetime.fromtimestamp(int(seconds), UTC)
