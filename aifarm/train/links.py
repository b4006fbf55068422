"""How fast the ranks of a gang exchange gradients, measured before the first step."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

MIB = 2**20
PROBE_BYTES = (2**18, 2**20, 2**22)  # one after the other, until one takes long enough
PROBE_SECONDS = 0.05  # what takes that long says enough of the bandwidth
LATENCY_PROBES = 3


class Links(NamedTuple):
    """`bandwidth`: MiB/s that each rank sends while all exchange, the slowest's; `latency`:
    seconds that an exchange takes which carries next to nothing."""

    bandwidth: float
    latency: float

    def seconds(self, mib: float, world_size: int) -> float:
        """For an exchange of `mib` MiB of gradients."""
        return self.latency + _sent(mib, world_size) / self.bandwidth


def measure(gang: Any, device: Any, most: int) -> Links:
    """Exchanges zeros as gradients are exchanged, for some tenths of a second at most; `most`: the
    bytes that a step will exchange. To be called on all ranks, which all get the same answer."""
    _exchange(gang, device, 1)  # connects
    latency = min(_exchange(gang, device, 1) for _ in range(LATENCY_PROBES))
    for size in PROBE_BYTES:
        seconds = _exchange(gang, device, size)
        if seconds >= PROBE_SECONDS or size >= most:
            break
    transfer = max(seconds - latency, seconds / 2)  # a probe that is all latency says little
    return Links(_sent(size / MIB, gang.world_size) / transfer, latency)


def gradient_bytes(model: Any) -> int:
    """What a step exchanges of the plain `model`."""
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


def seconds_of(work: Any, gang: Any, device: Any) -> float:
    """How long `work()` takes the slowest rank."""
    _settle(device)
    began = time.perf_counter()
    work()
    _settle(device)
    (slowest,) = gang.maximum([int(1e6 * (time.perf_counter() - began))])
    return max(1, slowest) / 1e6


def _exchange(gang: Any, device: Any, size: int) -> float:
    import torch
    import torch.distributed as dist

    zeros = torch.zeros(max(1, size // 4), device=device)
    gang.maximum([0])  # all begin together
    return seconds_of(lambda: dist.all_reduce(zeros), gang, device)


def _sent(mib: float, world_size: int) -> float:
    """What each rank of a ring sends so that all have the sum."""
    return 2 * (world_size - 1) / world_size * mib


def _settle(device: Any) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
