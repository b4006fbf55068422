"""The farm itself: its errors, tokens, health and load."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from aifarm.wire.agent import ErrorBody
from aifarm.wire.types import Timestamp
from aifarm.wire.v1 import ClientCounts


class ErrorEnvelope(Struct, frozen=True):
    error: ErrorBody


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
