"""A real task that does next to nothing: submitted, forked, trained, its checkpoint committed."""

import statistics
import tempfile
import time
from pathlib import Path

from aifarm.local.farm import LocalFarm
from bench.farm import WORKSPACE
from bench.stats import Figure, percentile

TASKS, GOAL = 30, 0.150

NOTHING = """
import torch
from torch import nn
from torch.utils.data import TensorDataset


def build_model(cfg):
    return nn.Linear(2, 1)


def build_data(cfg):
    return TensorDataset(torch.zeros(4, 2), torch.zeros(4, 1))
"""


def run() -> list[Figure]:
    seconds = []
    with (
        tempfile.TemporaryDirectory(dir=WORKSPACE) as folder,
        LocalFarm(Path(folder), agents=1) as local,
        local.connect() as farm,
    ):
        package = farm.publish(NOTHING, name="nothing")
        for number in range(TASKS + 3):
            began = time.perf_counter()
            farm.submit(package=package, epochs=1, batch_size=4).wait(timeout=60)
            if number >= 3:  # the first ones start the warm process
                seconds.append(time.perf_counter() - began)
    median = statistics.median(seconds)
    return [
        Figure(
            "forked",
            f"submit → completed seen, median of {TASKS}",
            median * 1e3,
            "ms",
            f"<= {GOAL * 1e3:.0f}",
            median <= GOAL,
            f"p90 {percentile(seconds, 90) * 1e3:.0f} ms (Ray Jobs: 770 to 1,300)",
        )
    ]
