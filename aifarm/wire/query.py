"""What may stand behind the `?` of each address, once; anything else is refused.

Values arrive as text, from which numbers and times are read. A list takes every value of a
parameter that is repeated, anything else the last one; `names` is separated by commas.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from aifarm.wire.types import Identifier, Name, Natural, Project, Tag, Timestamp

DEFAULT_LIMIT, MAX_LIMIT = 100, 1_000
MAX_LINES = 10_000

# A whole request line and its headers have 64 KiB, and a character may take 12 bytes of a URL.
Word = Annotated[str, Meta(max_length=256)]
Words = Annotated[str, Meta(max_length=2048)]
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]
Index = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class Query(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Nothing may be asked."""


class Paged(Query, frozen=True, kw_only=True):
    page: Annotated[int, Meta(ge=1, le=2**31)] = 1
    limit: Limit = DEFAULT_LIMIT


Status = Literal[
    "pending", "assigned", "running", "paused", "unreachable", "completed", "failed", "stopped"
]


class TaskFilter(Query, frozen=True, kw_only=True):
    """Which tasks: those that meet everything that is asked.

    `status` and `name` (of the package) take one of several, `tag` and `where` must all hold.
    `search` is looked for in title, name and notes; `prefix` is of the id. `since` is the first
    moment of creation that is included, `until` the first that is not. `deleted` asks for the
    trash instead.

    `where` compares a value of the config or the summary of a metric: `config.learning_rate<0.01`,
    `config.optimizer.name=adam`, `metrics.loss.min<=0.5`. The operators are `=`, `!=`, `<`, `<=`,
    `>`, `>=` for numbers and `=`, `!=`, `~` (contains) for text, which may stand in double quotes.
    A metric has `last`, `min`, `max`, `best`, `step`. Tasks without such a value are left out.
    """

    status: Annotated[list[Status], Meta(max_length=8)] = []
    submitter: Word | None = None
    project: Project | None = None
    tag: Annotated[list[Tag], Meta(max_length=16)] = []
    name: Annotated[list[Name], Meta(max_length=16)] = []
    prefix: Word | None = None
    search: Word | None = None
    since: Timestamp | None = None
    until: Timestamp | None = None
    parent: Identifier | None = None
    where: Annotated[list[Word], Meta(max_length=16)] = []
    deleted: bool = False


class TaskQuery(TaskFilter, frozen=True, kw_only=True):
    """Newest first, or by `sort`: `created_at`, `updated_at`, `title`, `status`, `config.NAME`,
    `metrics.NAME.last` (or `min`, `max`, `best`, `step`); `-` before it turns it round. Tasks
    without the value come last.

    `cursor`: of a previous answer, or empty to begin a walk that new tasks do not disturb and
    that nobody counts. `summaries`: the metrics whose summaries the list is to show.
    """

    page: Annotated[int, Meta(ge=1, le=2**31)] = 1
    limit: Limit = DEFAULT_LIMIT
    sort: Word = "-created_at"
    cursor: Words | None = None
    summaries: Annotated[list[Word], Meta(max_length=32)] = []


class CheckQuery(Query, frozen=True, kw_only=True):
    """`unpublished`: the package is published later; the answer is for the clients alone, and the
    config is not checked."""

    unpublished: bool = False


StatusV1 = Literal["pending", "running", "paused", "completed", "failed", "stopped"]


class TaskQueryV1(Paged, frozen=True, kw_only=True):
    """Newest first, or by `sort`. `prefix`: of the id."""

    status: Annotated[list[StatusV1], Meta(max_length=6)] = []
    submitter: Word | None = None
    prefix: Word | None = None
    sort: Literal["created_at", "-created_at", "updated_at", "-updated_at", "status", "-status"] = (
        "-created_at"
    )


class EventQuery(Query, frozen=True, kw_only=True):
    """Oldest first, from the event behind `after` on."""

    after: Natural = 0
    limit: Limit = MAX_LIMIT


Lines = Annotated[int, Meta(ge=1, le=MAX_LINES)]


class LogQuery(Query, frozen=True, kw_only=True):
    """Lines from `first` on, or the last `tail`; of the latest attempt where none is named."""

    attempt: Index | None = None
    rank: Index = 0
    first: Natural = 0
    limit: Lines = 1_000
    tail: Lines | None = None


class LogTextQuery(Query, frozen=True, kw_only=True):
    """All lines, or the last `tail` of each rank; of the latest attempt where none is named.

    `rank`: a number, or "all".
    """

    attempt: Index | None = None
    rank: Index | Literal["all"] = 0
    tail: Lines | None = None


class MetricQuery(Query, frozen=True, kw_only=True):
    """`points`: about how many of each curve, or "all". `names`: separated by commas; all else.
    Steps `first_step` to `last_step`, both included."""

    names: Words = ""
    points: Annotated[int, Meta(ge=1, le=100_000)] | Literal["all"] = 1_000
    first_step: Natural = 0
    last_step: Natural | None = None


class CsvQuery(Query, frozen=True, kw_only=True):
    """`names`: separated by commas; all else. Steps `first_step` to `last_step`, both included."""

    names: Words = ""
    first_step: Natural = 0
    last_step: Natural | None = None


class HistoryQuery(Query, frozen=True, kw_only=True):
    """`since` and `until` in ISO 8601 with a time zone; the last day where they are not given.
    `points`: at most so many entries."""

    since: Timestamp | None = None
    until: Timestamp | None = None
    points: Annotated[int, Meta(ge=1, le=10_000)] = 500


class Listed(Paged, frozen=True, kw_only=True):
    """`cursor`: of a previous answer, or empty to begin a walk that new entries do not disturb."""

    cursor: Words | None = None


class DataQuery(Listed, frozen=True, kw_only=True):
    """The newest first. `cursor`: as in other lists."""

    name: Word | None = None


class PackageQuery(Listed, frozen=True, kw_only=True):
    """Of one package, or of all. `cursor`: as in other lists."""

    name: Name | None = None
