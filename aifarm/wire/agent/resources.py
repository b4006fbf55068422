"""What a client has, and what of it is in use."""

from typing import Annotated

from msgspec import Meta, Struct

from aifarm.wire.types import Name, Natural, Percent

Version = Annotated[str, Meta(min_length=1, max_length=64)]


class Cpu(Struct, frozen=True):
    """`cores`: logical cores a task may use; `usage` in percent."""

    cores: Natural = 0
    usage: Percent = 0.0


class Memory(Struct, frozen=True):
    """MiB."""

    total: Natural = 0
    used: Natural = 0


class GpuProcess(Struct, frozen=True, omit_defaults=True):
    """A process that computes on a GPU: whose it is, its program, and the MiB that it holds."""

    pid: Natural
    user: str | None = None
    name: str | None = None
    memory: Natural | None = None


class Gpu(Struct, frozen=True, omit_defaults=True):
    """One GPU. `utilization` in percent, `temperature` in °C, `processes` that compute on it; None
    where NVML does not say. `held`: another agent of the same host has it at present."""

    id: Natural
    name: str
    memory: Memory
    uuid: str | None = None
    utilization: float | None = None
    temperature: float | None = None
    processes: tuple[GpuProcess, ...] | None = None
    held: bool = False


class Resources(Struct, frozen=True):
    """What a client has and how much of it is in use."""

    cpu: Cpu = Cpu()
    ram: Memory = Memory()
    gpu: tuple[Gpu, ...] = ()


class Environment(Struct, frozen=True):
    """A Python on a client that tasks may name, with the versions that are in it. `cuda` is the one
    that its torch was built for, null where that computes on CPUs alone."""

    name: Name
    python: Version
    torch: Version
    cuda: Version | None = None


class SystemInfo(Struct, frozen=True, omit_defaults=True):
    """Use in percent, None where unknown; `resources` is optional and, for a contract-only client,
    its capacity."""

    cpu_usage: float | None = None
    ram_usage: float | None = None
    gpu_usage: float | None = None
    resources: Resources | None = None
