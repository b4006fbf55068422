"""Processes forked by the warm process: what every one of them does first, and how it is ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Callable, NamedTuple

from aifarm.train import control
from aifarm.train.journal import Doorbell
from aifarm.train.watch import ATTENDS

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)  # loaded before the fork


class Child(NamedTuple):
    """A forked process and what its run folder says."""

    run_dir: Path
    pid: int
    start_time: int
    doorbell: str
    control: str
    kind: str


def fork(log: Path, environment: dict[str, str], body: Callable[[], int], keep: int = -1) -> int:
    """Forks a child that runs `body` and exits with its result; returns the child's pid.

    The child has a session of its own, dies with this process, has the default signal handlers,
    writes stdout and stderr to `log`, and keeps no descriptor but `keep`.
    """
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        _detach(parent, log, keep)
        os.environ.update(environment)
        status = body()
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)  # a regular exit can hang in gloo's destructor


def start_time(pid: int) -> int:
    """When the process began, in clock ticks since boot: with the pid it names a process."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[19])  # field 22; the name may hold spaces


def ring(worker: Child) -> None:
    """Tells the agent that the worker's run folder has news."""
    with contextlib.closing(Doorbell(worker.doorbell)) as bell:
        bell.ring()


def stop(worker: Child) -> None:
    """Has a worker stop: at a step boundary, or by a signal where it attends to nothing."""
    control.send(worker.control, control.STOPPED)
    if worker.kind == "script" and not (worker.run_dir / ATTENDS).exists():
        with contextlib.suppress(OSError):  # it, or its folder, has gone
            told = worker.run_dir / "terminated"
            if not told.exists():  # a second one would hurry what it does after the first
                told.touch()
                os.kill(worker.pid, signal.SIGTERM)
            os.killpg(worker.pid, signal.SIGCONT)


def kill(worker: Child) -> None:
    """Ends a worker that does not stop, with the processes of its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)


def _detach(parent: int, log: Path, keep: int) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor != keep:
            with contextlib.suppress(OSError):  # the one that listed the folder
                os.close(descriptor)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
