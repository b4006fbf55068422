"""What may stand behind the `?` of each address, once; anything else is refused.

Values arrive as text: numbers are read from it, `names` is separated by commas.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from aifarm.wire.types import Name, Natural, Text

DEFAULT_LIMIT, MAX_LIMIT = 100, 1_000
MAX_LINES = 10_000

Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]
Index = Annotated[int, Meta(ge=0, le=2**31)]


class Query(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Nothing may be asked."""


class Paged(Query, frozen=True, kw_only=True):
    page: Annotated[int, Meta(ge=1, le=2**31)] = 1
    limit: Limit = DEFAULT_LIMIT


Status = Literal[
    "pending", "assigned", "running", "paused", "unreachable", "completed", "failed", "stopped"
]


class TaskQuery(Paged, frozen=True, kw_only=True):
    """Newest first. `prefix`: of the id."""

    status: Status | None = None
    submitter: Text | None = None
    prefix: Text | None = None


class EventQuery(Query, frozen=True, kw_only=True):
    """Oldest first, from the event behind `after` on."""

    after: Natural = 0
    limit: Limit = MAX_LIMIT


class LogQuery(Query, frozen=True, kw_only=True):
    """Lines from `first` on; of the latest attempt where none is named."""

    attempt: Index | None = None
    rank: Index = 0
    first: Natural = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_LINES)] = 1_000


class MetricQuery(Query, frozen=True, kw_only=True):
    """`points`: about how many of each curve, or "all". `names`: separated by commas; all else."""

    names: Text = ""
    points: Annotated[int, Meta(ge=1, le=100_000)] | Literal["all"] = 1_000


class PackageQuery(Query, frozen=True, kw_only=True):
    name: Name | None = None
