"""What it costs to be there: the import in a notebook, and an idle agent."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from aifarm.local.farm import LocalFarm
from bench.stats import Figure

IMPORT = (
    "import sys, time; began = time.perf_counter(); import aifarm; "
    "heavy = {'tornado', 'sqlalchemy', 'torch'} & set(sys.modules); "
    "print(time.perf_counter() - began, *heavy)"
)


def _imports() -> Figure:
    answers = [
        subprocess.run(
            [sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(15)
    ]
    seconds = statistics.median(float(answer[0]) for answer in answers)
    heavy = {name for answer in answers for name in answer[1:]}
    note = f"loads {', '.join(heavy)}" if heavy else "loads none of tornado, sqlalchemy, torch"
    return Figure(
        "footprint",
        "import aifarm",
        seconds * 1e3,
        "ms",
        "< 100",
        seconds < 0.1 and not heavy,
        note,
    )


def _agent() -> Figure:
    with tempfile.TemporaryDirectory() as folder, LocalFarm(Path(folder), agents=1) as farm:
        (agent,) = farm.agents.values()
        time.sleep(5)
        resident = psutil.Process(agent.pid).memory_info().rss / 2**20
    return Figure(
        "footprint",
        "agent, idle and connected, without its warm process",
        resident,
        "MiB resident",
        "< 60",
        resident < 60,
    )


def run() -> list[Figure]:
    return [_imports(), _agent()]
