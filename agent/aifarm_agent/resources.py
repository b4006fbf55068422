"""What this machine has, and how much of it is in use."""

import os
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from aifarm.wire.agent import Cpu, Memory, Resources
from aifarm_agent.gpus import MIB, Gpus

CGROUP = Path("/sys/fs/cgroup")


class Machine:
    """Calling it describes the machine at this moment; CPU use is since the call before."""

    def __init__(self, gpus: Gpus) -> None:
        self._gpus = gpus
        psutil.cpu_percent()

    def __call__(self) -> Resources:
        memory = psutil.virtual_memory()
        total = min(memory.total, memory_limit() or memory.total)
        return Resources(
            cpu=Cpu(cores=len(os.sched_getaffinity(0)), usage=min(100.0, psutil.cpu_percent())),
            ram=Memory(total=total // MIB, used=min(total, memory.total - memory.available) // MIB),
            gpu=self._gpus.describe(),
        )


def memory_limit(root: Path = CGROUP, own: Path = Path("/proc/self/cgroup")) -> int | None:
    """The lowest memory limit of the cgroups (version 2) that we are in, in bytes, if any."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    inside = next((line[3:] for line in lines if line.startswith("0::")), "/").strip("/")
    folders = [root / inside, *(root / inside).parents]
    limits = []
    for folder in folders[: folders.index(root) + 1] if root in folders else []:
        try:
            text = (folder / "memory.max").read_text().strip()
        except OSError:
            continue
        if text.isdecimal():
            limits.append(int(text))
    return min(limits, default=None)
