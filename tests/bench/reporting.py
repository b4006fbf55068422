"""What reporting every step costs a training loop, of steps of a millisecond and of a tenth."""

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


Step = Callable[[], torch.Tensor]


def _mlp() -> Step:
    """One step of about a millisecond."""
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


def _tiny() -> Step:
    """One step of about a tenth of that: 10,000 a second."""
    x, w = torch.randn(96, 96), torch.randn(96, 96)

    def step() -> torch.Tensor:
        out = x
        for _ in range(4):
            out = torch.tanh(out @ w)
        return out.mean()

    return step


def _seconds(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(STEPS):
        step()
    return (time.perf_counter() - began) / STEPS


def _measure(name: str, loop: Step, run: Run, pairs: int, asked: bool) -> Figure:
    def reporting() -> None:
        run.report(loss=loop(), learning_rate=0.01)
        run.should_stop()

    _seconds(loop)
    bare, ratios = [], []
    for number in range(pairs):
        # Whichever goes first has the colder machine: by turns.
        first, second = (loop, reporting) if number % 2 else (reporting, loop)
        seconds = {first: _seconds(first), second: _seconds(second)}
        bare.append(seconds[loop])
        ratios.append(seconds[loop] / seconds[reporting])
    low, high = interval(ratios)
    took = statistics.median(bare)
    return Figure(
        "reporting",
        f"steps a second, reporting each {name} / bare loop",
        statistics.median(ratios),
        f"ratio, 95 % in {low:.3f}..{high:.3f}",
        f"lower bound >= {GOAL}" if asked else "",
        low >= GOAL if asked else None,
        f"{pairs} interleaved pairs of {STEPS} steps of {took * 1e3:.3f} ms",
    )


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
            figures = [
                _measure("step", _mlp(), run, PAIRS, asked=True),
                _measure("tiny step", _tiny(), run, PAIRS, asked=False),
            ]
            journal.close()
            control.close()
    return figures
