"""What checkpoints of a 100 MB state cost a training loop."""

import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from aifarm.train.run import Run
from bench.farm import WORKSPACE
from bench.stats import Figure, interval

ROUNDS, SECONDS, EVERY = 12, 6.0, 300.0
"""Each round trains for SECONDS without a checkpoint and then with one; the farm's default is one
EVERY so many seconds."""


def run() -> list[Figure]:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(1024, 1024) for _ in range(25)))  # 26 million numbers
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)
    x = torch.randn(8, 1024)
    size = sum(p.numel() * p.element_size() for p in model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    def steps(seconds: float) -> list[float]:
        """What each step took."""
        took = []
        until = time.perf_counter() + seconds
        while (began := time.perf_counter()) < until:
            step()
            took.append(time.perf_counter() - began)
        return took

    held, lost = [], []
    with tempfile.TemporaryDirectory(dir=WORKSPACE) as folder:
        run = Run(Path(folder), {})
        steps(2.0)
        for number in range(ROUNDS):
            usual = statistics.median(steps(SECONDS))
            run.step = number + 1
            began = time.perf_counter()
            run.checkpoint({"model": model.state_dict()})
            held.append(time.perf_counter() - began)
            # What the writing behind the training takes from it counts as well.
            lost.append(held[-1] + sum(took - usual for took in steps(SECONDS)))
        run.settle()
    low, high = interval(lost)
    return [
        Figure(
            "stall",
            f"a checkpoint of {size / 1e6:.0f} MB holds the training for",
            statistics.median(held) * 1e3,
            "ms",
        ),
        Figure(
            "stall",
            "training time lost to it, with what its writing costs behind",
            statistics.median(lost) * 1e3,
            f"ms, 95 % in {low * 1e3:.0f}..{high * 1e3:.0f}",
        ),
        Figure(
            "stall",
            f"share of training time, one each {EVERY:.0f} s",
            statistics.median(lost) / EVERY * 100,
            "%",
            note=f"{ROUNDS} checkpoints",
        ),
    ]
