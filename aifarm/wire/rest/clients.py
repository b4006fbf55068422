"""The workstations."""

from msgspec import Struct

from aifarm.wire.agent import Environment, Resources
from aifarm.wire.types import Timestamp
from aifarm.wire.v1 import ClientTask


class ClientTaskFull(ClientTask, frozen=True):
    """A task with a rank on a client. `gpus`: those that it holds there, by their ids."""

    gpus: list[int]


class ClientFull(Struct, frozen=True):
    """A workstation. `status`: whether it is connected. `lends`: false while its owner has taken
    it back. `drained`: why the farm gives it no new tasks, null where it does. `resources` as it
    last said."""

    id: str
    status: str
    speaks: str
    hostname: str
    agent_version: str
    labels: dict[str, str]
    environments: list[Environment]
    resources: Resources | None
    tasks: list[ClientTaskFull]
    lends: bool
    drained: str | None
    last_seen: Timestamp


class PerformanceFull(Struct, frozen=True):
    """Attempts that ended on a client. `average_time`: seconds of the completed ones;
    `success_rate` 0..1; null where nothing has ended yet."""

    completed_tasks: int
    ended_attempts: int
    average_time: float | None
    success_rate: float | None


class ClientFullDetails(ClientFull, frozen=True):
    performance: PerformanceFull


class GpuHistory(Struct, frozen=True):
    """One GPU over time: MiB in use, percent, and °C."""

    id: int
    memory_used: list[float | None]
    utilization: list[float | None]
    temperature: list[float | None]


class ClientHistory(Struct, frozen=True):
    """What a client used over time: columns of equal length, means of `seconds` each.

    `cpu` and `ram` in percent. Unknown is null, and where the client was away there is no entry.
    """

    client: str
    seconds: float
    time: list[Timestamp]
    cpu: list[float | None]
    ram: list[float | None]
    gpus: list[GpuHistory]


class ClientFullList(Struct, frozen=True):
    """`total`, `page` and `next_cursor` as in the list of tasks."""

    clients: list[ClientFull]
    total: int | None = None
    page: int | None = None
    next_cursor: str | None = None
