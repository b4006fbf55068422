"""Submit → first training step on a warm farm, beside `python train.py` of the same loop."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from aifarm import Farm
from aifarm.cli.localfarm import LocalFarm
from bench.farm import WORKSPACE
from bench.stats import Figure, interval

PAIRS, GOAL = 15, 10.0

MODEL = """
import torch
from torch import nn
from torch.utils.data import TensorDataset


def build_model(cfg):
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def build_data(cfg):
    return TensorDataset(torch.randn(256, 64), torch.randint(0, 10, (256,)))


def build_optimizer(model, cfg):
    return torch.optim.AdamW(model.parameters(), lr=0.001)
"""

SCRIPT = (
    MODEL
    + """
import time
from torch.utils.data import DataLoader

model = build_model({})
optimizer = build_optimizer(model, {})
for x, y in DataLoader(build_data({}), batch_size=32, shuffle=True):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    print(time.time())
    break
"""
)


def _cold(script: Path) -> float:
    began = time.time()
    told = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    return float(told.stdout) - began


def _warm(farm: Farm, package: object) -> float:
    began = time.time()
    task = farm.submit(package=package, epochs=1, batch_size=32).wait(timeout=60)
    first: float = task.metrics(names=["loss"], points=None)["loss"]["time"][0]
    return first - began


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory(dir=WORKSPACE) as name:
        folder = Path(name)
        script = folder / "train.py"
        script.write_text(SCRIPT)
        with LocalFarm(folder / "farm", agents=1) as local, local.connect() as farm:
            package = farm.publish(MODEL, name="mlp")
            _warm(farm, package)
            _cold(script)
            pairs = [(_warm(farm, package), _cold(script)) for _ in range(PAIRS)]
    warm, cold = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = [cold / warm for warm, cold in pairs]
    low, high = interval(ratios)
    return [
        Figure("first_step", "submit → first step, warm", warm * 1e3, "ms"),
        Figure("first_step", "python train.py → first step, cold", cold * 1e3, "ms"),
        Figure(
            "first_step",
            "cold / warm",
            statistics.median(ratios),
            f"ratio, 95 % in {low:.1f}..{high:.1f}",
            f">= {GOAL:.0f}",
            low >= GOAL,
            f"{PAIRS} interleaved pairs",
        ),
    ]
