"""Three ranks lose one: how long until all train again, from the fault and from its detection.

A fault is detected when the farm's story has it. For a host that is gone a spare one stands by.
"""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import sleep, time

import psutil

from aifarm import Farm, Task
from aifarm.local.farm import LocalFarm
from bench.farm import WORKSPACE
from bench.first_step import MODEL
from bench.stats import Figure

TRIALS, GOAL, LEASE, HOSTS = 5, 1.0, 2.0, 4
ENDS = {"attempt_failed", "attempt_lost"}

Fault = Callable[[LocalFarm, str], None]


def _warm(local: LocalFarm, name: str) -> psutil.Process:
    children = psutil.Process(local.agents[name].pid).children()
    return next(child for child in children if "aifarm.train.zygote" in child.cmdline())


def worker(local: LocalFarm, name: str) -> None:
    max(_warm(local, name).children(), key=lambda child: child.create_time()).kill()


def warm_process(local: LocalFarm, name: str) -> None:
    _warm(local, name).kill()


def host(local: LocalFarm, name: str) -> None:
    agent = psutil.Process(local.agents[name].pid)
    for process in [*agent.children(recursive=True), agent]:
        process.kill()
    local.agents[name].wait()


def _trial(farm: Farm, local: LocalFarm, package: object, fault: Fault, rank: int) -> list[float]:
    """Seconds from the fault to its detection, the assignment, the first step after it."""
    # On all hosts, so that each has a warm process.
    farm.submit(package=package, epochs=1, batch_size=32, n_clients=HOSTS, distributed=True).wait(
        timeout=120
    )
    task = farm.submit(
        package=package,
        epochs=10**6,
        batch_size=33,
        n_clients=3,
        distributed=True,
        max_retries=1,
        config={"checkpoint_seconds": 0.5},
    )
    _until(task, lambda: bool(task.checkpoints()))
    lost = task.refresh().clients[rank]
    began = time()
    fault(local, lost)
    _until(task, lambda: task.attempt == 2 and bool(_after(task, _at(task, {"running"}, began))))
    detected, assigned = (_at(task, kinds, began) for kinds in (ENDS, {"assigned"}))
    first = _after(task, _at(task, {"assigned"}, began))
    task.stop()
    task.wait(timeout=60)
    if local.agents[lost].poll() is not None:
        local.start_agent(lost, local.data_dir / "agent-token")
        while farm.client(lost).status != "active":
            sleep(0.1)
    return [moment - began for moment in (detected, assigned, first)]


def _until(task: Task, condition: Callable[[], bool]) -> None:
    for _ in task.watch():
        task.refresh()
        if condition():
            return


def _at(task: Task, kinds: set[str], since: float) -> float:
    """When the first such event was recorded; 0 before it was."""
    moments = (e.at.timestamp() for e in task.events() if e.kind in kinds)
    return next((moment for moment in moments if moment > since), 0.0)


def _after(task: Task, moment: float) -> float:
    """The time of the first step that was trained after `moment`; 0 before there is one."""
    times = task.metrics(names=["loss"], points=None)["loss"]["time"] if moment else []
    return next((float(at) for at in times if at > moment), 0.0)


def run() -> list[Figure]:
    figures = []
    with tempfile.TemporaryDirectory(dir=WORKSPACE) as name:
        options = ("--lease", str(LEASE), "--heartbeat", "0.5")
        with (
            LocalFarm(Path(name) / "farm", agents=HOSTS, server_options=options) as local,
            local.connect() as farm,
        ):
            package = farm.publish(MODEL, name="mlp")
            for what, fault, rank in (
                ("a worker", worker, 1),
                ("rank 0's worker", worker, 0),
                ("a warm process", warm_process, 1),
                ("a host", host, 1),
                ("rank 0's host", host, 0),
            ):
                trials = [_trial(farm, local, package, fault, rank) for _ in range(TRIALS)]
                detected, assigned, first = (
                    statistics.median(column) for column in zip(*trials, strict=True)
                )
                slowest = max(trial[2] for trial in trials)
                goal, met = (f"<= {GOAL:.0f}", first <= GOAL) if fault is worker else ("", None)
                note = f"N={TRIALS}, slowest {slowest:.2f} s; assigned after {assigned:.2f} s"
                figures += [
                    Figure("recovery", f"{what} killed → trains", first, "s", goal, met, note),
                    Figure("recovery", f"{what}: from its detection", first - detected, "s"),
                ]
    return figures
