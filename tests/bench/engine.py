"""One training script under the farm and under torchrun: steps a second at one to three ranks."""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from aifarm import Farm
from aifarm.cli.localfarm import LocalFarm
from bench.farm import WORKSPACE
from bench.stats import Figure, interval

PAIRS = {1: 15, 2: 15, 3: 5}
GOAL = 0.97

# Both read the clock after WARM steps: what a start costs is another figure's matter.
COMMON = """
import os
import time
import torch
from torch import nn

STEPS, WARM = 400, 40
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU())
model.append(nn.Linear(512, 10))
samples = [(torch.randn(128, 512), torch.randint(0, 10, (128,))) for _ in range(STEPS)]
"""

BARE = (
    COMMON
    + """
import torch.distributed as dist

torch.set_num_threads(1)
if int(os.environ["WORLD_SIZE"]) > 1:
    dist.init_process_group("gloo")
    model = nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for number, (x, y) in enumerate(samples):
    if number == WARM:
        began = time.perf_counter()
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
if int(os.environ["RANK"]) == 0:
    print((STEPS - WARM) / (time.perf_counter() - began))
if dist.is_initialized():
    dist.destroy_process_group()
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
    for number, (x, y) in enumerate(run.batches(samples)):
        if number == WARM:
            began = time.perf_counter()
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        run.report(loss=loss)
    run.report(steps_per_second=(STEPS - WARM) / (time.perf_counter() - began))
"""
)


def _bare(script: Path, ranks: int) -> float:
    options = ("--standalone", f"--nproc-per-node={ranks}")
    told = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *options, script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )
    return float(told.stdout)


def _farm(farm: Farm, package: object, ranks: int) -> float:
    task = farm.submit(package=package, n_clients=ranks, distributed=ranks > 1)
    return task.wait(timeout=300).metrics_latest["steps_per_second"]


def run() -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory(dir=WORKSPACE) as name:
        folder = Path(name)
        script, package_folder = folder / "bare.py", folder / "package"
        script.write_text(BARE)
        package_folder.mkdir()
        (package_folder / "train.py").write_text(FARM)
        with LocalFarm(folder / "farm", agents=max(PAIRS)) as local, local.connect() as farm:
            package = farm.publish(package_folder, "loop", kind="script", entry="train.py")
            for ranks, pairs in PAIRS.items():
                bare, ratios = [], []
                for number in range(pairs + 1):
                    # Whichever goes first has the colder machine: by turns.
                    if number % 2:
                        ours, theirs = _farm(farm, package, ranks), _bare(script, ranks)
                    else:
                        theirs, ours = _bare(script, ranks), _farm(farm, package, ranks)
                    if number:  # the first pair starts the warm processes
                        bare.append(theirs)
                        ratios.append(ours / theirs)
                low, high = interval(ratios)
                asked = ranks < 3
                figures.append(
                    Figure(
                        "engine",
                        f"steps a second, farm / torchrun, {ranks} rank{'s' * (ranks > 1)}",
                        statistics.median(ratios),
                        f"ratio, 95 % in {low:.3f}..{high:.3f}",
                        f"lower bound >= {GOAL}" if asked else "",
                        low >= GOAL if asked else None,
                        f"{pairs} pairs; torchrun {statistics.median(bare):.0f} steps/s",
                    )
                )
    return figures
