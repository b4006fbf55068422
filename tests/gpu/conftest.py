"""A farm of real agents on this machine's real GPUs. Without one, every test here says so."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from aifarm import Farm
from aifarm.local.farm import LocalFarm

GPUS = torch.cuda.device_count() if torch.cuda.is_available() else 0


@pytest.fixture(scope="session")
def gpus() -> int:
    """How many there are. Where there is none, what asks for them is skipped, saying so."""
    if not GPUS:
        pytest.skip("needs an NVIDIA GPU, and torch finds none")
    return GPUS


@pytest.fixture(autouse=True)
def enough_gpus(request: pytest.FixtureRequest, gpus: int) -> None:
    wanted = request.node.get_closest_marker("gpus")
    if wanted is not None and wanted.args[0] > gpus:
        pytest.skip(f"needs {wanted.args[0]} NVIDIA GPUs, and torch finds {gpus}")


@pytest.fixture(scope="session")
def farm(gpus: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    folder: Path = tmp_path_factory.mktemp("farm")
    with LocalFarm(folder, agents=1) as local, local.connect() as farm:
        yield farm


class Nvml:
    """What the driver itself says."""

    def __init__(self) -> None:
        import pynvml

        pynvml.nvmlInit()
        self._nvml: Any = pynvml

    def held(self, uuid: str) -> dict[int, int]:
        """MiB by the pid of each process that computes on a GPU."""
        handle = self._nvml.nvmlDeviceGetHandleByUUID(uuid)
        running = self._nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        return {one.pid: (one.usedGpuMemory or 0) >> 20 for one in running}

    def used(self, uuid: str) -> int:
        """MiB of a GPU in use by anybody."""
        handle = self._nvml.nvmlDeviceGetHandleByUUID(uuid)
        return int(self._nvml.nvmlDeviceGetMemoryInfo(handle).used) >> 20


@pytest.fixture(scope="session")
def nvml(gpus: int) -> Nvml:
    return Nvml()
