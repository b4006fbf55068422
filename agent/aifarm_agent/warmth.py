"""The warm processes: the agent's own, one for each other environment in use, and those that an
earlier agent left."""

import asyncio
import hashlib
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from aifarm_agent.environments import OWN, own_surroundings, runtime, surroundings
from aifarm_agent.processes import Process
from aifarm_agent.warm import Interpreter, WarmError, WarmProcess
from aifarm_agent.workdir import WorkDir

IDLE_SECONDS = 60.0
"""How long one that is not the agent's own is kept without work."""
STEM = "warm"


class WarmProcesses:
    """`environments`: Pythons by name, without the agent's own. `lost` is called with one that
    ended, and its workers with it."""

    def __init__(
        self,
        workdir: WorkDir,
        environments: Mapping[str, str],
        lost: Callable[[WarmProcess], None],
        orphan_limit: float,
    ) -> None:
        self._workdir = workdir
        self._lost = lost
        self._orphan_limit = orphan_limit
        self._known: dict[str, WarmProcess] = {}
        self._idle_since: dict[str, float] = {}
        self.own = self._open(STEM, Interpreter(sys.executable, own_surroundings()))
        self._named = {OWN: self.own}
        path = runtime(workdir.path / "runtime") if environments else None
        for name, python in environments.items():
            # Another Python under the same name is another process.
            digest = hashlib.sha256(f"{name}={python}".encode()).hexdigest()
            interpreter = Interpreter(python, surroundings(python, path))
            self._named[name] = self._open(f"{STEM}-{digest[:8]}", interpreter)

    def of(self, environment: str | None) -> WarmProcess:
        """Raises WarmError."""
        warm = self._named.get(environment or OWN)
        if warm is None:
            raise WarmError(f"This agent has no environment {environment} any more.")
        return warm

    async def find(self) -> dict[Path, tuple[Process, WarmProcess]]:
        """The workers of those that an earlier agent left, by run folder."""
        for socket in self._workdir.sockets.glob(f"{STEM}*"):
            if socket.name not in self._known:
                self._open(socket.name, None)
        found = {}
        for warm in self._known.values():
            if not await warm.find():
                continue
            try:
                listed = (await warm.ask("list"))["workers"]
            except WarmError:
                continue
            for one in listed:
                process = Process(one["pid"], one["start_time"])
                found[Path(one["run_dir"])] = (process, warm)
        return found

    def rest(self, used: Collection[WarmProcess], now: float) -> None:
        """Hangs up on those that had no work for long: they end when nobody comes for them."""
        for stem, warm in list(self._known.items()):
            if warm is self.own or warm in used:
                self._idle_since.pop(stem, None)
            elif now >= self._idle_since.setdefault(stem, now) + IDLE_SECONDS:
                warm.hang_up()

    async def close(self, end: bool) -> None:
        """As `WarmProcess.close`, of all."""
        await asyncio.gather(*(warm.close(end) for warm in self._known.values()))

    def _open(self, stem: str, interpreter: Interpreter | None) -> WarmProcess:
        folder, path = self._workdir.path, self._workdir.sockets / stem
        warm = WarmProcess(folder, path, interpreter, lambda: self._lost(warm), self._orphan_limit)
        self._known[stem] = warm
        return warm
