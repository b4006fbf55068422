"""Programs without a line of ours on a whole farm: paused, stopped, and killed twice."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from aifarm import Farm, Task
from aifarm.local.farm import LocalFarm

GUESTS = Path(__file__).parents[2] / "examples" / "guests"

COUNT = """
import sys, time
for step in range(1, 100_000):
    print(f"step {step} loss {1 / step:.6f}")
    time.sleep(0.005)
"""
FROM = r"step (?P<step>\d+) loss (?P<loss>\S+)"


def until(task: Task, condition: Callable[[], bool]) -> None:
    for _ in task.watch():
        if condition():
            return
    raise AssertionError(f"it is over: {task.refresh().status}: {task.info.message}")


def steps(task: Task, name: str = "loss") -> list[int]:
    found: list[int] = task.metrics(names=[name], points=None).get(name, {"step": []})["step"]
    return found


def story(task: Task) -> str:
    return "\n".join(event.message for event in task.events())


def worker(local: LocalFarm, task: Task) -> psutil.Process:
    """Rank 0's of the latest attempt."""
    names = f"{task.id}.{task.refresh().attempt}.0"
    (kept,) = local.data_dir.glob(f"agents/**/runs/{names}/worker.json")
    return psutil.Process(json.loads(kept.read_text())["pid"])


def test_a_guest_is_held_where_it_is_and_goes_on(calm: LocalFarm, farm: Farm) -> None:
    package = farm.publish(COUNT, name="count", kind="script", entry="train.py")
    task = farm.submit(package=package, progress_from=FROM)
    until(task, lambda: len(steps(task)) > 20)
    assert task.pause().observed == "paused"
    process = worker(calm, task)
    assert process.status() == psutil.STATUS_STOPPED
    held = steps(task)[-1]
    assert task.resume().observed == "running"
    until(task, lambda: steps(task)[-1] > held + 100)
    found = steps(task)
    assert found == list(range(1, len(found) + 1))
    assert "SIGSTOP" in story(task)

    task.pause()
    assert task.stop().observed == "stopped"
    assert not process.is_running()
    assert task.attempt == 1
    assert not task.checkpoints()


POLITE = """
import signal, sys, time
def save(number, frame):
    time.sleep(1)
    open("saved.txt", "w").close()
    print("saved on the way out")
    sys.exit(1)
signal.signal(signal.SIGTERM, save)
print("ready")
time.sleep(600)
"""


@pytest.mark.slow
def test_a_guest_that_saves_at_sigterm_is_stopped_not_failed(farm: Farm) -> None:
    package = farm.publish(POLITE, name="polite", kind="script", entry="train.py")
    task = farm.submit(package=package)
    assert next(line for line in task.logs(follow=True)) == "ready"
    assert task.stop().desired == "stopped"
    task.wait(timeout=30)
    assert task.refresh().status == "stopped"
    assert "saved on the way out" in list(task.logs())


CHATTY = "for line in range(1_000_000):\n    print('line', line)\n"


@pytest.mark.slow
def test_a_million_lines_keep_their_last_and_say_how_many_are_missing(farm: Farm) -> None:
    package = farm.publish(CHATTY, name="chatty", kind="script", entry="train.py")
    task = farm.submit(package=package)
    task.wait(timeout=60)
    lines = list(task.logs())
    assert lines[-100:] == [f"line {number}" for number in range(999_900, 1_000_000)]
    missing = sum(int(line.split()[1]) for line in lines if line.startswith("[aifarm]"))
    kept = sum(not line.startswith("[aifarm]") for line in lines)
    assert missing + kept == 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize("way", ["os._exit(0)", "os.execv('/bin/true', ['true'])"])
def test_a_guest_that_leaves_without_a_word_is_judged_by_its_exit_status(
    farm: Farm, way: str
) -> None:
    source = f"import os\nprint('loss 0.5', flush=True)\n{way}\n"
    package = farm.publish(source, name="leaver", kind="script", entry="train.py")
    task = farm.submit(package=package, progress_from=r"loss (?P<loss>\S+)")
    task.wait(timeout=30)
    assert task.info.status == "completed"
    assert task.metrics_latest == {"loss": 0.5}


PROGRAMS: dict[str, dict[str, Any]] = {
    "argparse": {
        "entry": "main.py",
        "args": ["--epochs", 12, "--samples", 20_000, "--workers", 1],
        "resume_args": ["--resume", "checkpoint.pt"],
        "outputs": ["checkpoint.pt"],
        "progress_from": r"Epoch (?P<step>\d+)/(?P<total>\d+)\s+Loss: (?P<loss>\S+)"
        r"\s+Accuracy: (?P<accuracy>\S+)",
        "kills": (3, 6),
        "resumed": "=> loading checkpoint",
        "last": 12,
    },
    "config_files": {
        "entry": "train.py",
        "args": ["config/tiny.py", "--max_iters=1500"],
        "resume_args": ["--init_from=resume"],
        "outputs": ["out/*"],
        "progress_from": r"iter (?P<step>\d+): loss (?P<loss>[\d.]+), time (?P<ms>[\d.]+)ms",
        "kills": (300, 700),
        "resumed": "Resuming training from out",
        "last": 1500,
    },
    "torchrun": {
        "entry": "train.py",
        "args": [40, 1, "--samples", 8192],
        "outputs": ["snapshot.pt"],
        "progress_from": r"Epoch (?P<step>\d+)/(?P<total>\d+) \| Loss: (?P<loss>\S+)",
        "kills": (5, 15),
        "resumed": "Resuming training from snapshot",
        "last": 40,
        "distributed": True,
        "n_clients": 2,
    },
    "hugging_face": {
        "entry": "run.py",
        "args": [
            *("--output_dir", "out", "--max_steps", 1000, "--logging_steps", 10),
            *("--save_steps", 100, "--save_total_limit", 2, "--report_to", "tensorboard"),
        ],
        "outputs": ["out/**"],
        "kills": (250, 500),
        "resumed": "Checkpoint detected, resuming",
        "last": 1000,
        "name": "train/loss",
    },
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("style", PROGRAMS)
def test_a_program_killed_twice_ends_with_its_curves_and_files(
    calm: LocalFarm, farm: Farm, style: str
) -> None:
    options = dict(PROGRAMS[style])
    entry, kills, resumed, last, name = (
        options.pop(key, "loss") for key in ("entry", "kills", "resumed", "last", "name")
    )
    package = farm.publish(GUESTS / style, name=f"guest-{style}", kind="script", entry=entry)
    task = farm.submit(package=package, max_retries=2, **options)
    for attempt, step in enumerate(kills, 1):

        def reached(attempt: int = attempt, step: int = step) -> bool:
            return task.refresh().attempt == attempt and max(steps(task, name), default=0) >= step

        until(task, reached)
        worker(calm, task).send_signal(signal.SIGKILL)
    task.wait(timeout=120)
    assert task.attempt == 3
    assert steps(task, name)[-1] == last
    assert task.progress == 100.0
    assert name in task.metrics_latest
    for attempt in (2, 3):
        assert any(resumed in line for line in task.logs(attempt=attempt))


GANG = """
import os, sys, time
import torch.distributed as dist
dist.init_process_group("gloo")
print("begins", len(sys.argv), os.path.exists("kept.txt"))
open("kept.txt", "w").close()
for step in range(1, 100_000):
    dist.barrier()
    print(f"step {step} loss {1 / step:.6f}")
    time.sleep(0.005)
"""


RESUMES = """
import os, sys, time
found = os.path.exists("kept.txt")
open("kept.txt", "w").close()
print("begins", len(sys.argv), found, flush=True)
while not found:
    time.sleep(0.01)
"""


@pytest.mark.slow
def test_a_program_that_is_tried_again_goes_on_from_its_own_files(farm: Farm) -> None:
    package = farm.publish(RESUMES, name="resumes", kind="script", entry="train.py")
    task = farm.submit(package=package, outputs=["kept.txt"], resume_args=["--resume"])
    assert "begins 1 False" in task.logs(follow=True)
    task.stop()
    again = task.wait().retry().wait(timeout=60)
    assert again.info.status == "completed"
    assert "begins 2 True" in list(again.logs())


@pytest.mark.slow
def test_a_gang_of_guests_leaves_its_clients_when_paused(farm: Farm) -> None:
    package = farm.publish(GANG, name="gang", kind="script", entry="train.py")
    task = farm.submit(
        package=package,
        progress_from=FROM,
        distributed=True,
        n_clients=2,
        outputs=["kept.txt"],
        resume_args=["--resume"],
    )
    until(task, lambda: len(steps(task)) > 5)
    task.pause()
    until(task, lambda: task.refresh().status == "paused" and not task.info.clients)
    assert "SIGTERM" in story(task)
    task.resume()
    until(task, lambda: task.refresh().attempt == 2 and bool(list(task.logs())))
    assert next(line for line in task.logs() if "begins" in line) == "begins 2 True"
    task.stop()
