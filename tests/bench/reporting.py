"""What reporting every step costs a training loop whose steps take about a millisecond."""

import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from aifarm.train.control import Control
from aifarm.train.journal import Journal
from aifarm.train.run import Run
from bench.stats import Figure, interval

PAIRS, STEPS, GOAL = 500, 100, 0.97


def _loop() -> Callable[[], torch.Tensor]:
    """One step of an MLP."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
    model.append(nn.Linear(256, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    x, y = torch.randn(64, 256), torch.randint(0, 10, (64,))

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _seconds(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(STEPS):
        step()
    return (time.perf_counter() - began) / STEPS


def run() -> list[Figure]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as doorbell:
            doorbell.bind(str(folder / "bell"))
            doorbell.setblocking(False)
            journal = Journal(folder / "journal", str(folder / "bell"))
            control = Control(str(folder / "control"), "running")
            run = Run(folder, {}, journal=journal, control=control)
            step = _loop()

            def reporting() -> None:
                run.report(loss=step(), learning_rate=0.01)
                run.should_stop()

            _seconds(step)
            bare, ratios = [], []
            for number in range(PAIRS):
                # Whichever goes first has the colder machine: by turns.
                first, second = (step, reporting) if number % 2 else (reporting, step)
                seconds = {first: _seconds(first), second: _seconds(second)}
                bare.append(seconds[step])
                ratios.append(seconds[step] / seconds[reporting])
            journal.close()
            control.close()
    low, high = interval(ratios)
    note = f"{PAIRS} interleaved pairs of {STEPS} steps of {statistics.median(bare) * 1e3:.2f} ms"
    return [
        Figure(
            "reporting",
            "steps a second, reporting each step / bare loop",
            statistics.median(ratios),
            f"ratio, 95 % in {low:.3f}..{high:.3f}",
            f"lower bound >= {GOAL}",
            low >= GOAL,
            note,
        )
    ]
