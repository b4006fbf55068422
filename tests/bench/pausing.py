"""From a pause that is asked for to one that is observed, alone and over three ranks."""

import statistics
import tempfile
import time
from pathlib import Path

from aifarm.local.farm import LocalFarm
from bench.farm import WORKSPACE
from bench.stats import Figure, percentile

PAUSES, GOAL = 20, 0.250

# Ten thousand epochs: it is stopped when enough was measured.
MODEL = """
import torch
from torch import nn
from torch.utils.data import TensorDataset


def build_model(cfg):
    return nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))


def build_data(cfg):
    return TensorDataset(torch.randn(2048, 256), torch.randint(0, 10, (2048,)))
"""


def run() -> list[Figure]:
    figures = []
    with (
        tempfile.TemporaryDirectory(dir=WORKSPACE) as folder,
        LocalFarm(Path(folder), agents=3) as local,
        local.connect() as farm,
    ):
        package = farm.publish(MODEL, name="mlp")
        for ranks in (1, 3):
            task = farm.submit(package=package, epochs=10_000, batch_size=32, n_clients=ranks)
            for seen in task.watch():
                if seen.progress:
                    break
            seconds = []
            for _ in range(PAUSES):
                began = time.perf_counter()
                while task.pause().observed != "paused":
                    pass  # each call waits for up to a second by itself
                seconds.append(time.perf_counter() - began)
                while task.resume().observed != "running":
                    pass
            task.stop()
            task.wait(timeout=60)
            median = statistics.median(seconds)
            asked = ranks == 3
            figures.append(
                Figure(
                    "pausing",
                    f"pause asked for → observed, {ranks} rank{'s' * (ranks > 1)}",
                    median * 1e3,
                    "ms",
                    f"<= {GOAL * 1e3:.0f}" if asked else "",
                    median <= GOAL if asked else None,
                    f"p90 {percentile(seconds, 90) * 1e3:.0f} ms of {PAUSES}",
                )
            )
    return figures
