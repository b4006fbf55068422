"""What a task tells while it runs: its story, its logs, its metrics."""

from msgspec import Struct

from aifarm.wire.rest.tasks import MetricSummary
from aifarm.wire.types import Timestamp


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
