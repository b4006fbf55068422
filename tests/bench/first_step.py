"""Submit → first training step on a warm farm, beside cold Python and Ray with the same loop."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from aifarm import Farm
from aifarm.local.farm import LocalFarm
from bench import peers
from bench.farm import WORKSPACE
from bench.stats import Figure, interval

PAIRS, GOAL, RATIO = 15, 0.150, 10.0

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
    stepped_at = time.time()
    print(stepped_at)
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


class _Ray:
    def __init__(self, script: Path) -> None:
        self._process = subprocess.Popen(
            [peers.python(), Path(__file__).with_name("ray_peer.py"), script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._answer()

    def seconds(self, kind: str) -> float:
        assert self._process.stdin
        self._process.stdin.write(f"{kind}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        self._process.communicate()  # the end of its input ends it, and Ray with it

    def _answer(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("Ray did not start")
        return line


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory(dir=WORKSPACE) as name:
        folder = Path(name)
        script = (folder / "train.py").resolve()
        script.write_text(SCRIPT)
        with LocalFarm(folder / "farm", agents=1) as local, local.connect() as farm:
            package = farm.publish(MODEL, name="mlp")
            ray = _Ray(script)
            ways: dict[str, Callable[[], float]] = {
                "farm": lambda: _warm(farm, package),
                "cold": lambda: _cold(script),
                "reused": lambda: ray.seconds("reused"),
                "fresh": lambda: ray.seconds("fresh"),
            }
            rounds = [{way: measure() for way, measure in ways.items()} for _ in range(PAIRS + 1)]
            ray.close()
    rounds = rounds[1:]  # the first one warms everything up
    median = {way: statistics.median(one[way] for one in rounds) for way in ways}
    figures = [
        Figure(
            "first_step",
            "submit → first step, warm",
            median["farm"] * 1e3,
            "ms",
            f"<= {GOAL * 1e3:.0f}",
            median["farm"] <= GOAL,
        ),
        Figure("first_step", "python train.py, cold", median["cold"] * 1e3, "ms"),
        Figure("first_step", "Ray task, a process of its own", median["fresh"] * 1e3, "ms"),
        Figure("first_step", "Ray actor, in the process used before", median["reused"] * 1e3, "ms"),
    ]
    for way, words, goal in (("cold", "cold Python", RATIO), ("fresh", "Ray", None)):
        ratios = [one[way] / one["farm"] for one in rounds]
        low, high = interval(ratios)
        figures.append(
            Figure(
                "first_step",
                f"{words} / farm",
                statistics.median(ratios),
                f"ratio, 95 % in {low:.1f}..{high:.1f}",
                f">= {goal:.0f}" if goal else "",
                low >= goal if goal else None,
                f"{PAIRS} rounds, all ways in each",
            )
        )
    return figures
