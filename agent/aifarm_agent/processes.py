"""Processes by pid and start time: a pid alone may be another's by now."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """`start_time`: clock ticks since the boot, field 22 of /proc/PID/stat."""

    pid: int
    start_time: int

    @property
    def alive(self) -> bool:
        """Whether it runs still; one that waits to be reaped does not."""
        stat = _stat(self.pid)
        return stat is not None and stat.start_time == self.start_time and stat.state != "Z"


class _Stat(NamedTuple):
    state: str
    session: int
    start_time: int


def kill_session(leader: Process, number: signal.Signals) -> None:
    """Signals every process of the session that `leader` began, also when it has ended itself."""
    for pid, stat in _all():
        # A process of this session cannot be older than its leader.
        if stat.session == leader.pid and stat.start_time >= leader.start_time:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def session_lives(leader: Process) -> bool:
    return any(
        stat.session == leader.pid and stat.start_time >= leader.start_time and stat.state != "Z"
        for _, stat in _all()
    )


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory, here or in our cgroup."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0


def _all() -> Iterator[tuple[int, _Stat]]:
    for name in os.listdir("/proc"):
        if name.isdecimal():
            stat = _stat(int(name))
            if stat is not None:
                yield int(name), stat


def _stat(pid: int) -> _Stat | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return _Stat(fields[0], int(fields[3]), int(fields[19]))
