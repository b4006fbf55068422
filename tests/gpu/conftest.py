"""A farm of real agents on this machine's real GPUs. Without one, every test here says so."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from aifarm import Farm
from aifarm.cli.localfarm import LocalFarm

GPUS = torch.cuda.device_count() if torch.cuda.is_available() else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        needed = item.get_closest_marker("gpus")
        count = needed.args[0] if needed else 1
        if count > GPUS:
            words = f"needs {count} NVIDIA GPU{'s' * (count > 1)}, and torch finds {GPUS or 'none'}"
            item.add_marker(pytest.mark.skip(reason=words))


@pytest.fixture(scope="session")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
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
def nvml() -> Nvml:
    return Nvml()
