"""One training loop under the farm and under torchrun: steps a second at one to three ranks.

Both train at the same time, and all ranks of one are frozen while the other's steps are counted,
by turns of a quarter of a second: what the machine does besides then falls on both alike. Each is
launched several times: where a process lies in memory makes it a little faster or slower for good.
"""

import mmap
import os
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple, Self

from aifarm import Farm
from aifarm.local.farm import LocalFarm
from bench.farm import WORKSPACE
from bench.stats import Figure, interval

RANKS = (1, 2, 3)
LAUNCHES, PAIRS = 10, 20
TURN = 0.25
WARM = 40
"""Steps before the first turn."""
GOAL = 0.97
PATIENCE = 120

# Each rank says after each step: its process, how many there were, and when, in nanoseconds.
COMMON = """
import mmap
import os
import struct
import sys
import time
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
model = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU())
model.append(nn.Linear(512, 10))
samples = [(torch.randn(128, 512), torch.randint(0, 10, (128,))) for _ in range(100)]


class Endless:
    def __iter__(self):
        while True:
            yield from samples


with open(f"{sys.argv[1]}/{os.environ.get('RANK', 0)}", "w+b") as file:
    file.truncate(24)
    told = mmap.mmap(file.fileno(), 24)


def tell(number):
    struct.pack_into("<qqq", told, 0, os.getpid(), number, time.perf_counter_ns())
"""

BARE = (
    COMMON
    + """
import torch.distributed as dist

if int(os.environ["WORLD_SIZE"]) > 1:
    dist.init_process_group("gloo")
    model = nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for number, (x, y) in enumerate(Endless()):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
    tell(number)
"""
)

FARM = (
    COMMON
    + """
import aifarm.train as at

run = at.current()
model = run.parallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
run.track(model=model, optimizer=optimizer)
for epoch in run.epochs(1):
    for number, (x, y) in enumerate(run.batches(Endless())):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        run.report(loss=loss)
        tell(number)
"""
)


class Told(NamedTuple):
    pid: int
    steps: int
    at: int


class Training:
    """The ranks of one training, which tell of their steps in `folder`."""

    def __init__(self, folder: Path, ranks: int) -> None:
        self._views = [_view(folder / str(rank)) for rank in range(ranks)]
        while min(self._told(rank).steps for rank in range(ranks)) < WARM:
            time.sleep(0.01)
        self._pids = [self._told(rank).pid for rank in range(ranks)]
        self._signal(signal.SIGSTOP)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._signal(signal.SIGCONT)

    def turn(self) -> float:
        """Steps a second of rank 0 in a turn, between its first step and its last."""
        before = self._told(0)
        self._signal(signal.SIGCONT)
        while (first := self._told(0)).steps == before.steps:
            time.sleep(0.001)
        time.sleep(TURN)
        last = self._told(0)
        self._signal(signal.SIGSTOP)
        return (last.steps - first.steps) / ((last.at - first.at) / 1e9)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._pids:
            os.kill(pid, number)

    def _told(self, rank: int) -> Told:
        """Read until two readings are the same: it is written meanwhile."""
        view = self._views[rank]
        told = None
        while told != (told := Told(*struct.unpack_from("<qqq", view))):
            pass
        return told


def _view(path: Path) -> mmap.mmap:
    """Once it is there."""
    deadline = time.monotonic() + PATIENCE
    while not (path.exists() and path.stat().st_size):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path.name} of {path.parent.name} does not train")
        time.sleep(0.01)
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0)


def _compare(farm: Farm, package: object, script: Path, ranks: int) -> list[tuple[float, float]]:
    """(the farm's, torchrun's) steps a second, turn by turn."""
    with tempfile.TemporaryDirectory(dir=WORKSPACE) as name:
        ours, theirs = Path(name).absolute() / "farm", Path(name).absolute() / "bare"
        ours.mkdir()
        theirs.mkdir()
        options = ("--standalone", f"--nproc-per-node={ranks}")
        bare = subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *options, script, theirs],
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with Training(theirs, ranks) as torchrun:
                task = farm.submit(
                    package=package, args=[str(ours)], n_clients=ranks, distributed=ranks > 1
                )
                with Training(ours, ranks) as farmed:
                    pairs = []
                    for number in range(PAIRS):
                        if number % 2:  # whichever goes first: by turns
                            pairs.append((farmed.turn(), torchrun.turn()))
                        else:
                            second = torchrun.turn()
                            pairs.append((farmed.turn(), second))
                task.stop()
                task.wait(timeout=PATIENCE)
        finally:
            bare.terminate()
            bare.wait()
        return pairs


def run() -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory(dir=WORKSPACE) as name:
        folder = Path(name)
        script, package_folder = folder / "bare.py", folder / "package"
        script.write_text(BARE)
        package_folder.mkdir()
        (package_folder / "train.py").write_text(FARM)
        with LocalFarm(folder / "farm", agents=max(RANKS)) as local, local.connect() as farm:
            package = farm.publish(package_folder, "loop", kind="script", entry="train.py")
            for ranks in RANKS:
                launches = [_compare(farm, package, script, ranks) for _ in range(LAUNCHES)]
                ratios = [
                    statistics.median(ours / theirs for ours, theirs in one) for one in launches
                ]
                low, high = interval(ratios)
                bare = statistics.median(theirs for one in launches for _, theirs in one)
                asked = ranks < 3
                figures.append(
                    Figure(
                        "engine",
                        f"steps a second, farm / torchrun, {ranks} rank{'s' * (ranks > 1)}",
                        statistics.median(ratios),
                        f"ratio, 95 % in {low:.3f}..{high:.3f}",
                        f"lower bound >= {GOAL}" if asked else "",
                        low >= GOAL if asked else None,
                        f"{LAUNCHES} launches of {PAIRS} turns; torchrun {bare:.0f} steps/s",
                    )
                )
    return figures
