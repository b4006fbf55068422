"""A guest: a script without a line of ours. What it cannot do by itself, signals do to it."""

import signal
from pathlib import Path

from aifarm.wire.types import DesiredState
from aifarm_agent.events import CannotPause, End, Finished, Paused, Report, Running
from aifarm_agent.processes import Process, kill_session, signal_leader

UNPAUSED_SECONDS = 5.0
"""How long the ranks of a gang may take to show that their code pauses by itself."""
LEFT = "Stopped by SIGTERM: it begins again, with its outputs."
HELD = "Held by SIGSTOP: it goes on where it is, and keeps its memory until then."


class Guest:
    """The signals of one script's worker, which may turn out to attend to its run by itself.

    `alone`: whether it is the only rank. `begun`: whether its worker has spoken.
    """

    def __init__(self, folder: Path, alone: bool, begun: bool) -> None:
        self.begun = begun
        self._folder = folder
        self._alone = alone
        self._held: bool | None = None if begun else False  # None: an earlier agent knew
        self._paused_since: float | None = None

    @property
    def attends(self) -> bool:
        return (self._folder / "attends").exists()

    @property
    def terminated(self) -> bool:
        """Whether it was told to end; what it then did is no success and no failure."""
        return (self._folder / "terminated").exists()

    def left(self, desired: DesiredState | None, end: End | None) -> bool:
        """Whether its end is our doing: it was terminated, or a peer that is to pause was."""
        if self.terminated:
            return True
        pausing = desired == "paused" and not self._alone and not self.attends
        return pausing and not isinstance(end, Finished)

    def steer(self, worker: Process, desired: DesiredState, now: float) -> Report | None:
        """Holds it, or lets it go on. Returns what is so then, if it was not before."""
        if desired == "paused" and self.begun and not self.attends:
            return self._hold(worker) if self._alone else self._wait(now)
        self._paused_since = None
        if desired == "running" and self._held is not False:
            self.go_on(worker)
            return Running()
        return None

    def terminate(self, worker: Process) -> None:
        """Once: a second SIGTERM would hurry what it does after the first."""
        if not self.terminated:
            (self._folder / "terminated").touch()
            signal_leader(worker, signal.SIGTERM)
        self.go_on(worker)  # else the signal would wait

    def go_on(self, worker: Process) -> None:
        if self._held is not False:
            self._held = False
            kill_session(worker, signal.SIGCONT)

    def _hold(self, worker: Process) -> Report | None:
        if self._held:
            return None
        self._held = True
        for _ in range(2):  # the second time for those that began during the first
            kill_session(worker, signal.SIGSTOP)
        return Paused(how=HELD)

    def _wait(self, now: float) -> Report | None:
        self._paused_since = self._paused_since or now
        return CannotPause() if now >= self._paused_since + UNPAUSED_SECONDS else None
