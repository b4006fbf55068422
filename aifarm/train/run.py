"""A run: what the training code sees of its task, on the farm and off it."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from aifarm.train import checkpoint as checkpoints
from aifarm.train.control import DESIRED, PAUSED, RUNNING, STOPPED
from aifarm.train.distributed import Gang, HostError

logger = logging.getLogger(__name__)

ALONE_SECONDS = 0.02  # how often a single rank looks at what is desired
CHECK_SECONDS = 0.2  # how often the ranks of a gang agree on it
HOLD_SECONDS = 0.1  # the same while held, so that no collective times out
EPOCH_SECONDS = 1.0  # short epochs are not worth a checkpoint each
FOLLOWER_SECONDS = 1.0  # ranks above 0 report at most this often: the gang's view is rank 0's


class NoJournal:
    """Off the farm nobody reads."""

    def point(self, step: int, metrics: dict[str, Any], progress: float) -> None: ...

    def flush_if_due(self) -> None: ...

    def write(self, line: dict[str, Any]) -> None: ...


class NoControl:
    """Off the farm nobody interferes."""

    def poll(self, timeout: float | None = 0.0) -> str:
        return RUNNING


class Run:
    """One attempt at a task, as its training code sees it.

    `config`: the task's settings and own keys, a plain dict; `rank`, `world_size`: as in
    torch.distributed; `metrics`: the latest value of each; `step`, `progress` (percent): the
    latest reported.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        journal: Any = None,
        control: Any = None,
        gang: Gang | None = None,
        device: Any = None,
        resume: str | None = None,
        checkpoint_seconds: float = 300.0,
        keep_checkpoints: int = 2,
    ) -> None:
        self.config = config
        self.gang = gang or Gang()
        self.rank = self.gang.rank
        self.world_size = self.gang.world_size
        self.metrics: dict[str, Any] = {}
        self.step = 0
        self.progress = 0.0
        self.held_seconds = 0.0

        self._folder = folder / "checkpoints"
        self._journal = journal or NoJournal()
        self._control = control or NoControl()
        self._device = device
        self._resume = resume
        self._checkpoint_seconds = checkpoint_seconds
        self._keep = keep_checkpoints

        self._observed = ""
        self._reported_at = 0.0
        self._saved_at = time.monotonic()
        self._since_checkpoint = 0.0  # seconds, as agreed with the other ranks
        self._checked_at = 0.0  # long ago: the first boundary is looked at
        self._period = 1  # step boundaries from one agreement to the next
        self._until_check = 1

    @property
    def device(self) -> Any:
        """The torch.device to train on: this rank's GPU where there is one, else the CPU."""
        if self._device is None:
            self._device = choose_device(0)
        return self._device

    def report(
        self, *, step: int | None = None, progress: float | None = None, **metrics: Any
    ) -> None:
        """Reports numbers (or tensors of one element) of a step; `progress` in percent.

        Without `step` the steps are counted. Never blocks, never raises: what cannot be read as
        a number is left out, and the log says so.
        """
        try:
            self.step = self.step + 1 if step is None else int(step)
            if progress is not None:
                self.progress = float(progress)
            for name, value in metrics.items():
                if type(value) is not float:
                    metrics[name] = settle(value)
            self.metrics.update(metrics)
            if self.rank > 0:
                now = time.monotonic()
                if now - self._reported_at < FOLLOWER_SECONDS:
                    return
                self._reported_at = now
            self._journal.point(self.step, metrics, self.progress)
        except Exception as error:
            logger.warning("a report was left out: %s", error)

    def should_stop(self) -> bool:
        """To be called at each step boundary: waits here while paused, True when to stop.

        In a gang every rank calls it equally often, and all get the same answer at the same
        call. Up to 0.2 s pass until a gang agrees; a single rank obeys within 20 ms.
        """
        if not self._is_time_to_check():
            return False
        self._journal.flush_if_due()
        desired = self._agree(pace=(time.monotonic() - self._checked_at) / self._period)
        self._until_check = self._period
        if desired == PAUSED:
            desired = self._hold()
        if desired == RUNNING:
            self._observe(RUNNING)
        self._checked_at = time.monotonic()
        return desired == STOPPED

    def checkpoint_due(self, epoch_end: bool = False) -> bool:
        """Whether it is time for a checkpoint; the same answer on every rank.

        At an epoch's end it is, unless the last one is less than a second old.
        """
        limit = self._checkpoint_seconds
        return self._since_checkpoint >= (min(limit, EPOCH_SECONDS) if epoch_end else limit)

    def checkpoint(self, state: dict[str, Any], *, epoch: int = 0, final: bool = False) -> None:
        """Stores `state` (plain types and tensors) as the checkpoint of the latest step.

        To be called on all ranks; rank 0 writes. A disk that refuses leaves the previous
        checkpoint intact and is told in the log; for the final one it raises HostError.
        """
        self._saved_at = time.monotonic()
        self._since_checkpoint = 0.0
        if self.rank > 0:
            return
        try:
            written = checkpoints.save(state, self._folder, self.step)
        except OSError as error:
            if final:
                raise HostError(f"the final checkpoint cannot be written: {error}") from error
            logger.warning("the checkpoint of step %d cannot be written: %s", self.step, error)
            return
        self._journal.write(
            {
                "type": "checkpoint",
                "path": str(written.path),
                "step": self.step,
                "epoch": epoch,
                "progress": self.progress,
                "metrics": self.latest_metrics(),
                "final": final,
                "size": written.size,
                "sha256": written.sha256,
            }
        )
        checkpoints.prune(self._folder, self._keep)

    def latest_checkpoint(self) -> Path | None:
        """The file to resume from: the newest of this run, else the one it was started with."""
        newest = checkpoints.newest(self._folder)
        return newest or (Path(self._resume) if self._resume else None)

    def latest_metrics(self) -> dict[str, float]:
        """The latest value of each metric, as floats."""
        return {name: float(value) for name, value in self.metrics.items()}

    def _is_time_to_check(self) -> bool:
        if self.world_size == 1:
            return time.monotonic() >= self._checked_at + ALONE_SECONDS
        # Clocks differ, so a gang counts boundaries: all ranks agree at the same one.
        self._until_check -= 1
        return self._until_check == 0

    def _agree(self, pace: float) -> str:
        """What is desired by the most urgent rank; `pace`: seconds from boundary to boundary."""
        since = time.monotonic() - self._saved_at
        desired, since_ms, pace_us = self.gang.maximum(
            [DESIRED.index(self._control.poll()), int(since * 1e3), int(pace * 1e6)]
        )
        self._since_checkpoint = since_ms / 1e3
        if self.world_size > 1:
            # Doubling at most: the first steps of a run tell little about the later ones.
            wanted = int(CHECK_SECONDS * 1e6) // max(1, pace_us)
            self._period = max(1, min(wanted, 2 * self._period))
        return DESIRED[desired]

    def _hold(self) -> str:
        self._observe(PAUSED)
        began = time.monotonic()
        desired = PAUSED
        while desired == PAUSED:
            self._control.poll(None if self.world_size == 1 else HOLD_SECONDS)
            desired = self._agree(pace=HOLD_SECONDS)
        self.held_seconds += time.monotonic() - began
        return desired

    def _observe(self, state: str) -> None:
        if state != self._observed:
            self._observed = state
            self._journal.write({"type": state, "step": self.step})


def choose_device(local_rank: int) -> Any:
    """The GPU of this rank among those that the process may see, else the CPU."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank % torch.cuda.device_count())


def settle(value: Any) -> Any:
    """`value` as it is now: a number, or a copy on the accelerator that is read at the flush.

    Reading an accelerator's tensor here would make the training loop wait for it.
    """
    is_cpu = getattr(value, "is_cpu", None)
    if is_cpu is None:
        return float(value)
    return value.item() if is_cpu else value.detach().reshape(()).clone()


_current: Run | None = None


def current() -> Run:
    """The run of this process. Off the farm: one that trains here, with ./aifarm-run/ as home."""
    global _current
    if _current is None:
        _current = Run(Path("aifarm-run"), config={})
    return _current


def enter(run: Run) -> None:
    """Makes `run` the one that `current` returns."""
    global _current
    _current = run
