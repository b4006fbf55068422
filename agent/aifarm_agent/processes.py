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


def look(pid: int) -> Process | None:
    stat = _stat(pid)
    return Process(pid, stat.start_time) if stat else None


class _Stat(NamedTuple):
    state: str
    session: int
    start_time: int


def kill_session(leader: Process, number: signal.Signals) -> bool:
    """Signals every process of the session that `leader` began, also when it has ended itself.

    Returns whether there was any.
    """
    now = _stat(leader.pid)
    if now is not None and now.start_time != leader.start_time:
        return False  # the number is another's by now, and so may be its session
    found = False
    for pid, stat in _all():
        # A process of this session cannot be older than its leader.
        ours = stat.session == leader.pid and stat.start_time >= leader.start_time
        if ours and stat.state != "Z":
            found = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    return found


def signal_leader(leader: Process, number: signal.Signals) -> None:
    """Signals this process alone: its children are its own to end."""
    if leader.alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(leader.pid, number)


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
