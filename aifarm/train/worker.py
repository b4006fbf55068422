"""The worker: one rank of an attempt, from task.json to the last line of the journal."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import faulthandler
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from aifarm.train import gpulock, script
from aifarm.train import run as runs
from aifarm.train.control import Control
from aifarm.train.distributed import Gang, HostError, choose_device, is_lost_peer
from aifarm.train.journal import Journal
from aifarm.train.package import PackageInvalid, explain, load, trace
from aifarm.train.provenance import origin, provenance
from aifarm.train.trainer import Trainer

# What torch says, as a plain RuntimeError, when the host's memory is used up.
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "CUDA out of memory")


def main(run_dir: Path) -> int:
    """Runs the task of `run_dir` to its end; returns the exit status of the process."""
    faulthandler.enable()
    keep_memory()
    task = json.loads((run_dir / "task.json").read_text())
    control = Control(task["control"], task["desired"])
    journal = Journal(run_dir / "journal", task["doorbell"])
    last = _work(task, run_dir, journal, control)
    journal.write(last)
    journal.close()
    control.close()
    return 1 if last["type"] == "failed" else 0


def keep_memory() -> None:
    """Has freed blocks of a step kept for the next one, where the C library is glibc.

    A forked process finds its heap in an order in which glibc gives the memory back at each step
    and faults it in again (measured: about 20 page faults, 2 % of a step of 5 ms). The thresholds
    are those that glibc comes to by itself once a block of 32 MiB was freed; see mallopt(3).
    """
    trim_threshold, mmap_threshold = -1, -3
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 32 << 20)
        mallopt(trim_threshold, 64 << 20)


def _work(
    task: dict[str, Any], run_dir: Path, journal: Journal, control: Control
) -> dict[str, Any]:
    """Trains; returns the journal's last line."""
    folder = Path(task["package_dir"])
    trainer = run = None
    doing = "starting"
    try:
        run = _enter(task, run_dir, journal, control)
        if task["kind"] == "declarative":
            run.gang.join(run.device)
            package = load(folder, task["entry"], required=("build_model", "build_data"))
            trainer = Trainer(run, package)
            metrics = trainer.train()
        elif task["kind"] == "script":
            doing = "the script"
            metrics = script.train(run, folder, task["entry"], task["args"], task["mounts"])
        else:
            raise PackageInvalid(f"packages of kind {task['kind']!r} cannot be trained")
    except BaseException as error:
        if run:
            with contextlib.suppress(Exception):
                run.settle()  # what is being written is whole
        folder = run_dir / "work" if task["kind"] == "script" else folder
        doing = trainer.doing if trainer else doing
        line = failure(error, doing, folder, task["rank"], task["world_size"])
        print(line["traceback"], file=sys.stderr, flush=True)  # noqa: T201 (it is the task's log)
        return line
    if metrics is None:
        return {"type": "stopped", "step": run.step}
    return {"type": "finished", "metrics": metrics}


def _enter(task: dict[str, Any], run_dir: Path, journal: Journal, control: Control) -> runs.Run:
    """Says `started`, and makes this the current run."""
    import torch

    gpulock.hold(task["gpu_locks"])
    # The warm process keeps one thread, so that forking is safe; the pool of this one is its own.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    device = choose_device(task["local_rank"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    config = task["config"]
    argv = [sys.executable, task["entry"], *task["args"]]
    package = {**task["package"], **origin(Path(task["package_dir"]))}
    told = {**provenance(device, config.get("seed") or 0, argv, package), "data": task["data"]}
    journal.write({"type": "started", "time": time.time(), "pid": os.getpid(), "provenance": told})
    run = runs.Run(
        run_dir,
        config,
        journal=journal,
        control=control,
        gang=Gang(task["rank"], task["world_size"]),
        device=device,
        resume=task["resume"],
        checkpoint_seconds=task["checkpoint_seconds"],
        keep_checkpoints=task["keep_checkpoints"],
    )
    os.environ["AIFARM_DATA_DIR"] = str(run.data_dir)  # for scripts that know nothing of us
    runs.enter(run)
    return run


def failure(
    error: BaseException, doing: str, folder: Path, rank: int, world_size: int
) -> dict[str, Any]:
    """The journal's last line for `error`, which happened while `doing` something."""
    cause, message = _blame(error, doing, folder, rank, world_size)
    return {"type": "failed", "cause": cause, "message": message, "traceback": trace(error)}


def _blame(
    error: BaseException, doing: str, folder: Path, rank: int, world_size: int
) -> tuple[str, str]:
    if isinstance(error, PackageInvalid):
        return "package_invalid", str(error)
    if isinstance(error, HostError):
        return "agent_lost", str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "agent_lost", f"this machine's disk is full: {error}"
    if world_size > 1 and is_lost_peer(error):
        return "peers_lost", f"rank {rank} lost contact with its peers"
    if isinstance(error, script.Failed):
        return "user_error", str(error)
    reason = explain(error, folder)
    if _is_out_of_memory(error):
        return "out_of_memory", f"out of memory in {doing}: {reason}"
    return "user_error", f"{doing} failed: {reason}"


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)
