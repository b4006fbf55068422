"""What a result came from: recorded when an attempt starts."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import platform
import re
from pathlib import Path
from typing import Any

DRIVER = Path("/proc/driver/nvidia/version")


@functools.lru_cache(maxsize=1)
def packages() -> dict[str, str]:
    """Name and version of each installed distribution. Read once: the warm process does it."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:  # a half-removed distribution has none
            found.setdefault(name, distribution.version)
    return dict(sorted(found.items()))


@functools.lru_cache(maxsize=1)
def packages_sha256() -> str:
    """Of lines as `pip freeze` writes them: the same for the same distributions."""
    lines = "".join(f"{name}=={version}\n" for name, version in packages().items())
    return hashlib.sha256(lines.encode()).hexdigest()


def driver() -> str | None:
    """The version of NVIDIA's driver, where there is one."""
    try:
        found = re.search(r"Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", DRIVER.read_text())
    except OSError:
        return None
    return found[1] if found else None


def origin(folder: Path) -> dict[str, Any]:
    """The commit that the package in `folder` says it comes from, whether its files differed, and
    the sha256 of these differences, which the package holds; {} where it says nothing."""
    try:
        said = json.loads((folder / "aifarm.json").read_text()).get("origin") or {}
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in said.items() if name != "diff"}


def provenance(device: Any, seed: int, argv: list[str], package: dict[str, Any]) -> dict[str, Any]:
    """Package, interpreter, torch, CUDA, driver, GPU, distributions, seed and command of this
    attempt."""
    import torch

    on_gpu = device.type == "cuda"
    return {
        "package": package,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "driver": driver(),
        "gpu": torch.cuda.get_device_name(device) if on_gpu else None,
        "packages": packages(),
        "packages_sha256": packages_sha256(),
        "seed": seed,
        "argv": argv,
    }
