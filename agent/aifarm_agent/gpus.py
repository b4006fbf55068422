"""The GPUs of this machine, through NVML. No NVIDIA driver is normal and quiet."""

import logging
import os
from collections.abc import Callable
from typing import Any

import psutil  # type: ignore[import-untyped]

from aifarm.wire.agent import Gpu, GpuProcess, Memory
from aifarm_agent.gpulocks import GpuLocks

logger = logging.getLogger(__name__)

MIB = 1 << 20


class Gpus:
    """The GPUs that tasks may use, numbered from 0 in NVML's order.

    `choice`: "all", "none", or NVML's indexes or UUIDs with commas between. What
    CUDA_VISIBLE_DEVICES hides from this process is hidden from its tasks. `locks` say
    which of them another agent of this host uses.
    """

    def __init__(self, choice: str = "all", locks: GpuLocks | None = None) -> None:
        self.locks = locks or GpuLocks()
        self._nvml: Any = None
        self._handles: list[Any] = []
        self.uuids: list[str] = []
        if choice == "none":
            return
        try:
            import pynvml  # type: ignore[import-untyped]

            pynvml.nvmlInit()
        except Exception as error:
            # Without a driver there is nothing to say, unless GPUs were asked for.
            log = logger.debug if choice == "all" else logger.warning
            log("no NVIDIA GPU can be used: %s", error)
            return
        self._nvml = pynvml
        wanted = [choice, os.environ.get("CUDA_VISIBLE_DEVICES", "all")]
        for index in range(self._ask(0, pynvml.nvmlDeviceGetCount)):
            handle = self._ask(None, pynvml.nvmlDeviceGetHandleByIndex, index)
            uuid = self._ask("", pynvml.nvmlDeviceGetUUID, handle)
            if uuid and all(chosen(index, uuid, text) for text in wanted):
                self._handles.append(handle)
                self.uuids.append(uuid)

    def describe(self) -> tuple[Gpu, ...]:
        """Each with its use at this moment."""
        return tuple(
            self._gpu(number, handle, uuid)
            for number, (handle, uuid) in enumerate(zip(self._handles, self.uuids, strict=True))
        )

    def _gpu(self, number: int, handle: Any, uuid: str) -> Gpu:
        nvml = self._nvml
        memory = self._ask(None, nvml.nvmlDeviceGetMemoryInfo, handle)
        rates = self._ask(None, nvml.nvmlDeviceGetUtilizationRates, handle)
        heat = self._ask(None, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU)
        return Gpu(
            id=number,
            name=str(self._ask("NVIDIA GPU", nvml.nvmlDeviceGetName, handle)),
            memory=Memory(memory.total // MIB, memory.used // MIB) if memory else Memory(),
            uuid=uuid,
            utilization=float(rates.gpu) if rates else None,
            temperature=float(heat) if heat is not None else None,
            processes=self._processes(handle),
            held=self.locks.taken(uuid),
        )

    def _processes(self, handle: Any) -> tuple[GpuProcess, ...] | None:
        found = self._ask(None, self._nvml.nvmlDeviceGetComputeRunningProcesses, handle)
        if found is None:
            return None
        return tuple(process(one.pid, one.usedGpuMemory) for one in found)

    def _ask(self, otherwise: Any, question: Callable[..., Any], *about: Any) -> Any:
        """NVML's answer; `otherwise` where it has none (a laptop's GPU, one that fell off)."""
        try:
            return question(*about)
        except Exception as error:
            logger.debug("%s: %s", question.__name__, error)
            return otherwise


def process(pid: int, memory: int | None) -> GpuProcess:
    """A process on a GPU, which holds `memory` bytes of it. One in another container has no name
    here, and one that has just ended neither."""
    user = name = None
    try:
        seen = psutil.Process(pid)
        user, name = seen.username(), seen.name()
    except psutil.Error as error:
        logger.debug("process %d on a GPU: %s", pid, error)
    return GpuProcess(pid, user, name, None if memory is None else memory // MIB)


def chosen(index: int, uuid: str, choice: str) -> bool:
    """Whether `choice` ("all", indexes, UUIDs or how they begin) names this GPU."""
    if choice == "all":
        return True
    names = [name.strip() for name in choice.split(",")]
    return any(
        name == str(index) or (name.startswith("GPU-") and uuid.startswith(name)) for name in names
    )
