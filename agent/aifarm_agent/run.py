"""One rank's run folder: its files, its sockets, and the worker that writes there."""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aifarm.wire.types import DesiredState
from aifarm_agent.events import Died, End, Failed, Finished, Mark, RankKey, Report, Stopped
from aifarm_agent.guest import LEFT, Guest
from aifarm_agent.journal import Journal
from aifarm_agent.logtail import LogTail
from aifarm_agent.plan import CHECKPOINT_SECONDS
from aifarm_agent.processes import Process, kill_session, oom_kills
from aifarm_agent.workdir import boot_id

TERM_SECONDS = 5.0
"""From SIGTERM to SIGKILL."""
LINGER_SECONDS = 5.0
"""How long a worker may take to exit after its last line."""
UNTOLD_SECONDS = 1.0
"""How long the warm process may take to say how a worker ended."""
WATCHED_SECONDS = 15.0
"""How long a worker's watcher may take to read what is left."""


def folder_of(runs: Path, key: RankKey) -> Path:
    return runs / f"{key.task_id}.{key.attempt}.{key.rank}"


def key_of(folder: Path) -> RankKey | None:
    """The rank that a run folder is for; None for a folder that is none."""
    try:
        task_id, attempt, rank = folder.name.rsplit(".", 2)
        return RankKey(task_id, int(attempt), int(rank))
    except ValueError:
        return None


class Run:
    """`marks`: how far its files were consumed. `rung` is called when its worker has news."""

    def __init__(
        self,
        key: RankKey,
        folder: Path,
        sockets: Path,
        marks: Mapping[str, Mark],
        rung: Callable[["Run"], None],
    ) -> None:
        self.key = key
        self.folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)
        self.journals = (
            Journal(folder / "journal", marks.get("journal")),
            Journal(folder / "watch", marks.get("watch"), "watch"),
        )
        self.log = LogTail(folder / "log", marks.get("log"))
        self.desired: DesiredState | None = None
        self.launching = False
        self.abandoned = False
        self.settled = False
        self.last: tuple[End, Mark] | None = None
        self._told: DesiredState | None = None
        self._killed = False
        self._missing_since: float | None = None
        self._stop_since: float | None = None
        self._last_since: float | None = None
        self._gone_since: float | None = None
        self.guest = self._guest(self._load("task.json"), begun="journal" in marks)
        self._outputs_at = 0.0
        kept = self._load("worker.json")
        self._rebooted = bool(kept) and kept["boot_id"] != boot_id()
        self._oom_kills = kept.get("oom_kills", 0)
        self.worker = self._process(kept)
        name = hashlib.sha256(str(key).encode()).hexdigest()[:12]
        self._doorbell, self._control = sockets / f"b{name}", sockets / f"c{name}"
        self._bell = self._bind()
        self._rung = rung

    # ------------------------------------------------------------ its worker

    @property
    def begun(self) -> bool:
        """Whether a worker was ever started here."""
        return (self.folder / "task.json").exists()

    @property
    def can_meet(self) -> bool:
        """Whether the gang's rendezvous, if one was opened here, still is."""
        kept = self._load("store.json")
        store = self._process(kept)
        return not kept or (store is not None and store.alive)

    @property
    def gpus(self) -> list[str]:
        """The UUIDs that its worker was started with."""
        known: list[str] = self._load("task.json").get("gpus", [])
        return known

    def write_task(self, desired: DesiredState, task: dict[str, Any]) -> None:
        self.desired = self._told = desired
        sockets = {"doorbell": str(self._doorbell), "control": str(self._control)}
        self._save("task.json", {**task, **sockets, "desired": desired})
        self.guest = self._guest(task, begun=False)

    def link_data(self, paths: Mapping[str, Path]) -> None:
        """Shows the data in this folder's `data`; while the links are there it is in use."""
        folder = self.folder / "data"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        for name, path in paths.items():
            (folder / name).symlink_to(path)

    def spawned(self, worker: Process) -> None:
        self.worker = worker
        self._oom_kills = oom_kills()
        self._save(
            "worker.json",
            {**worker._asdict(), "boot_id": boot_id(), "oom_kills": self._oom_kills},
        )
        if self._killed:
            self.kill()

    def give_up(self) -> None:
        """There will be no worker: one that is forked all the same, late, finds no task."""
        self.settled = True
        (self.folder / "task.json").unlink(missing_ok=True)

    def store_opened(self, store: Process) -> None:
        """The gang's rendezvous runs as a process of its own."""
        self._save("store.json", {**store._asdict(), "boot_id": boot_id()})

    def steer(self, desired: DesiredState) -> None:
        self.desired = desired
        self.send()

    def send(self) -> None:
        """Tells the worker what is desired; one that does not listen yet is told again later."""
        if self.desired == self._told:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            with contextlib.suppress(OSError):
                sender.sendto(json.dumps({"desired": self.desired}).encode(), str(self._control))
                self._told = self.desired

    def kill(self) -> None:
        self._killed = True
        self._signal(signal.SIGKILL)

    def insist(self, now: float, grace: float) -> Report | None:
        """Called now and then: repeats what was not obeyed, in the end by force.

        Returns what was done to a guest.
        """
        if self.worker is None or self.settled:
            return None
        self.send()
        guest = self.guest
        if self._killed:
            self.kill()
        elif self.last is not None:
            self._last_since = self._last_since or now
            if now >= self._last_since + LINGER_SECONDS:
                self.kill()
        elif self.desired == "stopped":
            self._stop_since = self._stop_since or now
            if now >= self._stop_since + grace + TERM_SECONDS:
                self.kill()
            elif guest and not guest.attends:
                guest.terminate(self.worker)
            elif now >= self._stop_since + grace:
                self._signal(signal.SIGTERM)
        else:
            self._stop_since = None
            if guest and self.desired:
                return guest.steer(self.worker, self.desired, now)
        return None

    def gone(self, now: float) -> bool:
        """Whether there is no worker any more, or there will be none."""
        if self.launching:
            return False
        if self.worker is None:
            return self._killed or self.abandoned
        if (self.folder / "exit.json").exists():
            self._gone_since = self._gone_since or now
            watched = not (self.folder / "watching").exists()
            return watched or now >= self._gone_since + WATCHED_SECONDS
        if self.worker.alive:
            return False
        self._missing_since = self._missing_since or now
        return now >= self._missing_since + UNTOLD_SECONDS

    def end(self) -> tuple[End, Mark | None]:
        """How it ended, once it is gone and its journal was read to the end."""
        if self.worker is not None:
            kill_session(self.worker, signal.SIGKILL)  # what it started and left behind
        if self.guest and self.guest.left(self.desired, self.last[0] if self.last else None):
            return Stopped(how=LEFT), self.last[1] if self.last else None
        if self.last is not None:
            end, mark = self.last
            if isinstance(end, Finished):
                end = Finished({**self._load("watched.json"), **end.metrics})
            return end, mark
        left = self._load("exit.json")
        if left.get("code") == 0 and self.guest and not self.guest.attends:
            return Finished(self._load("watched.json")), None  # it left by os._exit, or by exec
        if left:
            code, number = left.get("code"), left.get("signal")
            starved = number == signal.SIGKILL and oom_kills() > self._oom_kills
            return Died(code, number, starved and not self._killed), None
        if self.worker is not None and not self._killed:
            return Failed("agent_lost", "The warm process ended, and the worker with it."), None
        if self._rebooted:
            return Failed("agent_lost", "The machine was restarted."), None
        return Died(), None

    # ------------------------------------------------------------ its files

    def outputs_due(self, now: float) -> bool:
        """Whether it is time again to look at what its task keeps."""
        if self.worker is None or self.settled or now < self._outputs_at:
            return False
        first = self._outputs_at == 0
        task = self._load("task.json")
        seconds = task.get("config", {}).get("checkpoint_seconds")
        if not isinstance(seconds, int | float) or seconds <= 0:
            seconds = CHECKPOINT_SECONDS
        self._outputs_at = now + max(seconds, 1.0)
        return bool(task.get("outputs")) and not first

    def close(self) -> None:
        """Leaves everything for a later agent."""
        self._bell.close()

    def remove(self) -> None:
        """Leaves nothing."""
        self.close()
        for process in (self.worker, self._process(self._load("store.json"))):
            if process is not None:
                kill_session(process, signal.SIGKILL)
        for path in (self._doorbell, self._control, self.folder / "task.json"):
            path.unlink(missing_ok=True)  # without task.json nobody takes the rest for a run
        shutil.rmtree(self.folder, ignore_errors=True)

    def heard(self) -> None:
        """The doorbell rang, perhaps many times."""
        with contextlib.suppress(BlockingIOError):
            while self._bell.recv(64):
                pass
        self._rung(self)

    def fileno(self) -> int:
        return self._bell.fileno()

    def _bind(self) -> socket.socket:
        bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        bell.setblocking(False)
        self._doorbell.parent.mkdir(mode=0o700, exist_ok=True)  # a log-out may have removed it
        self._doorbell.unlink(missing_ok=True)
        bell.bind(str(self._doorbell))
        return bell

    def _signal(self, number: signal.Signals) -> None:
        if self.worker is not None:
            kill_session(self.worker, number)

    def _guest(self, task: dict[str, Any], begun: bool) -> Guest | None:
        if task.get("kind") != "script":
            return None
        return Guest(self.folder, task["world_size"] == 1, begun)

    def _process(self, kept: dict[str, Any]) -> Process | None:
        """What was kept of a process, if it is of this boot."""
        if kept.get("boot_id") != boot_id():
            return None
        return Process(kept["pid"], kept["start_time"])

    def _save(self, name: str, value: dict[str, Any]) -> None:
        fresh = self.folder / f"{name}.new"
        fresh.write_text(json.dumps(value))
        os.replace(fresh, self.folder / name)

    def _load(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads((self.folder / name).read_text())
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}
