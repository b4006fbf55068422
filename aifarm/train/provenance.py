"""What a result came from: recorded when an attempt starts."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from typing import Any


@functools.lru_cache(maxsize=1)
def packages() -> dict[str, str]:
    """Name and version of each installed distribution. Read once: the warm process does it."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:  # a half-removed distribution has none
            found.setdefault(name, distribution.version)
    return dict(sorted(found.items()))


def provenance(device: Any, seed: int, argv: list[str]) -> dict[str, Any]:
    """Interpreter, torch, CUDA, GPU, packages, seed and command of this attempt."""
    import torch

    on_gpu = device.type == "cuda"
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "gpu": torch.cuda.get_device_name(device) if on_gpu else None,
        "packages": packages(),
        "seed": seed,
        "argv": argv,
    }
