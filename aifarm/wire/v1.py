"""Answers of version 1 of the REST API: the documented contract. An unknown number is 0.0."""

from msgspec import Struct

from aifarm.wire.types import JSON, Requirements, Timestamp


class TaskRow(Struct, frozen=True):
    id: str
    type: str
    status: str
    progress: float
    created_at: Timestamp
    updated_at: Timestamp


class TaskList(Struct, frozen=True):
    tasks: list[TaskRow]
    total: int
    page: int


class TaskCreated(Struct, frozen=True):
    id: str
    status: str
    created_at: Timestamp


class TaskDetails(Struct, frozen=True):
    id: str
    type: str
    status: str
    progress: float
    metrics: dict[str, float]
    config: dict[str, JSON]
    requirements: Requirements
    created_at: Timestamp
    updated_at: Timestamp


class StatusUpdated(Struct, frozen=True):
    id: str
    status: str
    updated_at: Timestamp


class GpuMemory(Struct, frozen=True):
    total: int
    used: int


class GpuRow(Struct, frozen=True):
    id: int
    name: str
    memory: GpuMemory


class CpuRow(Struct, frozen=True):
    cores: int
    usage: float


class RamRow(Struct, frozen=True):
    total: int
    used: int


class ResourcesRow(Struct, frozen=True):
    """As in the list of clients, where the page prints `gpu` as an object, by GPU id."""

    cpu: CpuRow
    ram: RamRow
    gpu: dict[str, GpuRow]


class ResourcesDetails(Struct, frozen=True):
    """As in a client's details, where the page prints `gpu` as an array."""

    cpu: CpuRow
    ram: RamRow
    gpu: list[GpuRow]


class ClientRow(Struct, frozen=True):
    id: str
    status: str
    resources: ResourcesRow
    last_seen: Timestamp


class ClientList(Struct, frozen=True):
    clients: list[ClientRow]


class ClientTask(Struct, frozen=True):
    id: str
    status: str
    progress: float


class Performance(Struct, frozen=True):
    """`average_time` in seconds; `success_rate` 0..1 of the attempts that ended here."""

    completed_tasks: int
    average_time: float
    success_rate: float


class ClientDetails(Struct, frozen=True):
    id: str
    status: str
    resources: ResourcesDetails
    tasks: list[ClientTask]
    performance: Performance
    last_seen: Timestamp


class ClientCounts(Struct, frozen=True):
    total: int
    active: int


class TaskCounts(Struct, frozen=True):
    total: int
    running: int
    completed: int
    failed: int


class Usage(Struct, frozen=True):
    """Means in percent, 0.0 where unknown."""

    cpu_usage: float
    ram_usage: float
    gpu_usage: float


class SystemMetrics(Struct, frozen=True):
    """`resources`: over all active clients."""

    clients: ClientCounts
    tasks: TaskCounts
    resources: Usage
    timestamp: Timestamp


class TaskMetrics(Struct, frozen=True):
    """`resources`: over the clients that hold the task."""

    progress: float
    metrics: dict[str, float]
    resources: Usage
    timestamp: Timestamp
