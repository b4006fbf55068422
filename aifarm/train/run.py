"""A run: what the training code sees of its task, on the farm and off it."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from aifarm.train import checkpoint as checkpoints
from aifarm.train.alone import NoControl, NoJournal
from aifarm.train.control import DESIRED, PAUSED, RUNNING, STOPPED
from aifarm.train.distributed import Gang, choose_device
from aifarm.train.journal import settle
from aifarm.train.links import MIB, Links, gradient_bytes, measure
from aifarm.train.loop import Loop
from aifarm.train.saving import Saver
from aifarm.train.watch import ATTENDS

logger = logging.getLogger(__name__)

ALONE_SECONDS = 0.02  # how often a single rank looks at what is desired
CHECK_SECONDS = 0.2  # how often the ranks of a gang agree on it
HOLD_SECONDS = 0.1  # the same while held, so that no collective times out
EPOCH_SECONDS = 1.0  # short epochs are not worth a checkpoint each
SETTLED = 4  # agreements after which the pace of a script's steps is taken for what it will be
FOLLOWER_SECONDS = 1.0  # ranks above 0 report at most this often: the gang's view is rank 0's


class Run:
    """One attempt at a task, as its training code sees it.

    `config`: the task's settings and own keys, a plain dict; `rank`, `world_size`: as in
    torch.distributed; `metrics`: the latest value of each; `step`, `progress` (percent): the
    latest reported; `folder`: where it may write, its own on each rank; `data_dir`: where the
    task's data lie, each a file or a folder by its name.
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
        self.folder = folder
        self.data_dir = folder.absolute() / "data"  # wherever the script goes
        self.gang = gang or Gang()
        self.rank = self.gang.rank
        self.world_size = self.gang.world_size
        self.metrics: dict[str, Any] = {}
        self.step = 0
        self.progress = 0.0
        self.seconds_before = 0.0  # of training, in earlier attempts
        self.time_is_up = False
        self.stopping = False  # whether `should_stop` has said so

        self._checkpoints = folder / "checkpoints"
        self._journal = journal or NoJournal()
        self._control = control or NoControl()
        self._device = device
        self._resume = resume
        self._default_seconds = checkpoint_seconds
        self._saver = Saver(self._checkpoints, keep_checkpoints, self._journal.write)
        self._loop = Loop(self)
        self.adopt(config)

        self._observed = ""
        self._attends = False
        self._resumed: dict[str, Any] | None = None
        self._began = time.monotonic()
        self._held_seconds = 0.0
        self._reported_at = 0.0
        self._saved_at = time.monotonic()
        self._saved_step = 0
        self._since_checkpoint = 0.0  # seconds, as agreed with the other ranks
        self._busy = False  # whether one is being written, as agreed
        self._checked_at = 0.0  # long ago: the first boundary is looked at
        self._period = 1  # step boundaries from one agreement to the next
        self._until_check = 1
        self._agreements = 0
        self._asked: Callable[[], list[int]] | None = None  # the ranks' answers are on their way
        self._asked_after = 0.0  # the checkpoint that they know of
        self._links: tuple[Links, float] | None = None  # and MiB, until a script's pace is known

    @property
    def device(self) -> Any:
        """The torch.device to train on: this rank's GPU where there is one, else the CPU."""
        if self._device is None:
            self._device = choose_device(int(os.environ.get("LOCAL_RANK", "0")))
        return self._device

    def adopt(self, config: dict[str, Any]) -> None:
        """Takes `config` as the task's, and its limits on time and between checkpoints."""
        self.config = config
        seconds = config.get("checkpoint_seconds")
        self._checkpoint_seconds = self._default_seconds if seconds is None else seconds
        self._checkpoint_steps = config.get("checkpoint_steps")
        self._max_seconds = config.get("max_seconds")

    def track(self, *, best: dict[str, str] | None = None, **things: Any) -> None:
        """Has the state of `things` (model, optimizer, scheduler, scaler...) saved in every
        checkpoint, and restores it now where there is one to resume from.

        `best`: a metric and its better direction, {"metric": "accuracy", "mode": "max"}; the
        checkpoint of the epoch where it was best is kept. What is named `model` is what the farm
        gives out as the weights. Raises TypeError for what has no state_dict.
        """
        self._loop.track(things, best or self.config.get("best"))

    def epochs(self, count: int) -> Iterator[int]:
        """The numbers of the epochs still to be trained, up to `count`.

        Between them the run is checkpointed, paused and stopped as the farm desires.
        """
        return self._loop.epochs(count)

    def batches(self, loader: Any, grad_accumulation: int = 1) -> Iterator[Any]:
        """The batches of this epoch that are still to be trained, of a DataLoader (or anything
        that gives the same batches again).

        After each one the run may be checkpointed, paused and stopped; with `grad_accumulation`
        after every so many, so that no gradients are lost that wait for the optimizer.
        """
        return self._loop.batches(loader, grad_accumulation)

    def parallel(
        self, model: Any, compress: bool = False, find_unused_parameters: bool = False
    ) -> Any:
        """`model`, averaging its gradients over the ranks (DistributedDataParallel), such that a
        resumed run sums in the same order; `model` itself when there is one rank.

        `compress`: gradients travel as fp16, for slow links. It rounds them, on every attempt
        alike. `find_unused_parameters`: as in DistributedDataParallel, for a model that in some
        step uses only some of its parameters; it costs one more exchange each step.
        """
        gang = self.gang
        gang.join(self.device)
        # A sparse gradient cannot be stood in for; with this option there is no need to.
        find = find_unused_parameters or any(getattr(m, "sparse", False) for m in model.modules())
        parallel = gang.parallel(model, find_unused_parameters=find)
        gang.settle_buckets(parallel)
        if gang.world_size > 1:
            size = gradient_bytes(model) // (2 if compress else 1)
            self._links = measure(gang, self.device, size), size / MIB
        if compress:
            gang.compress(parallel)
        return parallel

    def report(
        self, *, step: int | None = None, progress: float | None = None, **metrics: Any
    ) -> None:
        """Reports numbers (or tensors of one element) of a step; `progress` in percent.

        Without `step` it is that of the loop over `batches`, else the reports are counted. Never
        blocks, never raises: what cannot be read as a number is left out, and the log says so.
        """
        try:
            if step is not None:
                self.step = int(step)
            elif not self._loop.counts:
                self.step += 1
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
        self.attend()
        if not self._is_time_to_check():
            return False
        self._journal.flush_if_due()
        self._saver.collect()
        desired = self._agree()
        self._until_check = self._period
        if desired == PAUSED:
            desired = self._hold()
        if desired == RUNNING:
            self._observe(RUNNING)
        self._checked_at = time.monotonic()
        self.stopping = desired == STOPPED
        return self.stopping

    def attend(self) -> None:
        """Says that this code obeys at its step boundaries, so that it need not be forced."""
        if not self._attends:
            self._attends = True
            with contextlib.suppress(OSError):  # off the farm there may be no folder
                (self.folder / ATTENDS).touch()

    def checkpoint_due(self, epoch_end: bool = False) -> bool:
        """Whether it is time for a checkpoint; the same answer on every rank.

        At an epoch's end it is, unless the last one is less than a second old. What is due by
        time waits until no other one is being written.
        """
        steps = self._checkpoint_steps
        if steps and self.step >= self._saved_step + steps:
            return True
        limit = self._checkpoint_seconds
        limit = min(limit, EPOCH_SECONDS) if epoch_end else limit
        return not self._busy and self._since_checkpoint >= limit

    def checkpoint(
        self,
        state: dict[str, Any],
        *,
        epoch: int = 0,
        final: bool = False,
        best: bool = False,
        wait: bool = False,
    ) -> None:
        """Stores `state` (plain types and tensors) as the checkpoint of the latest step.

        To be called on all ranks; rank 0 writes, behind the training unless it is to `wait` or
        this is the final one. The best one is kept beside the newest. A disk that refuses leaves
        the previous checkpoint intact and is told in the log; for the final one it raises
        HostError.
        """
        self.saved()
        if self.rank > 0:
            return
        line = {
            "step": self.step,
            "epoch": epoch,
            "progress": self.progress,
            "metrics": self.latest_metrics(),
            "final": final,
            "best": best,
        }
        self._saver.save(state, line)
        if wait or final:
            self.settle()
        if final and state.get("model") and checkpoints.export(state["model"], self.folder):
            self._journal.write({"type": "weights"})

    def saved(self) -> None:
        """To be told, on all ranks, when the code has written a checkpoint of its own: the next
        one is due a while after it."""
        self._saved_at = time.monotonic()
        self._saved_step = self.step
        self._since_checkpoint = 0.0

    def settle(self) -> None:
        """Waits until the latest checkpoint is written."""
        self._saver.settle()

    def latest_checkpoint(self) -> Path | None:
        """The file to resume from: the newest of this run, else the one it was started with."""
        self.settle()
        newest = checkpoints.newest(self._checkpoints)
        return newest or (Path(self._resume) if self._resume else None)

    def resumed(self, seconds: float, **verified: Any) -> None:
        """To be told once the state is restored: the training time of the attempts before, and
        what was found of it, which goes with the next line that says the run is running."""
        self.seconds_before = seconds
        self._saved_step = self.step
        self._resumed = verified

    def measured(self, links: Links, gradients: float, compute: float) -> None:
        """To be told once it is known what a step of a gang costs: `compute` seconds on each rank,
        and the exchange of `gradients` MiB over these links."""
        self._links = None
        if self.rank == 0:
            costs = {**links._asdict(), "gradients": gradients, "compute": compute}
            self._journal.write({"type": "measured", **costs})

    def finish(self) -> None:
        """Ends a script's run: its last state becomes the final checkpoint."""
        self._loop.finish()
        self.settle()

    @property
    def training_seconds(self) -> float:
        """Time of training in all attempts, without what it was held."""
        return self.seconds_before + time.monotonic() - self._began - self._held_seconds

    def latest_metrics(self) -> dict[str, float]:
        """The latest value of each metric, as floats."""
        return {name: float(value) for name, value in self.metrics.items()}

    def _is_time_to_check(self) -> bool:
        if self.world_size == 1:
            return time.monotonic() >= self._checked_at + ALONE_SECONDS
        # Clocks differ, so a gang counts boundaries: all ranks agree at the same one.
        self._until_check -= 1
        if self._until_check:
            return False
        if self._asked is None and self._agreements:
            self._ask()  # they exchange it behind the next step, which else would wait for it
            self._until_check = 1
            return False
        return True

    def _ask(self, pace: float | None = None) -> None:
        """Tells the other ranks what this one knows; `pace`: seconds from boundary to boundary."""
        now = time.monotonic()
        if pace is None:
            pace = (now - self._checked_at) / self._period
        limit = self._max_seconds
        self._asked_after = self._saved_at
        self._asked = self.gang.maximum_later(
            [
                DESIRED.index(self._control.poll()),
                int((now - self._saved_at) * 1e3),
                int(pace * 1e6),
                self._saver.busy,
                limit is not None and self.training_seconds >= limit,
            ]
        )

    def _agree(self, pace: float | None = None) -> str:
        """What is desired by the most urgent rank."""
        if self._asked is None:
            self._ask(pace)
        assert self._asked is not None  # noqa: S101
        desired, since_ms, pace_us, busy, time_is_up = self._asked()
        self._asked = None
        if self._saved_at == self._asked_after:
            self._since_checkpoint = since_ms / 1e3
        self._busy, self.time_is_up = bool(busy), bool(time_is_up)
        if self.world_size > 1:
            self._agreements += 1
            if self._links and self._agreements >= SETTLED:
                links, mib = self._links
                exchange = links.seconds(mib, self.world_size)
                self.measured(links, mib, max(0.0, pace_us / 1e6 - exchange))
            # Doubling at most: the first steps of a run tell little about the later ones.
            wanted = int(CHECK_SECONDS * 1e6) // max(1, pace_us)
            self._period = max(1, min(wanted, 2 * self._period))
        return DESIRED[desired]

    def _hold(self) -> str:
        self._observe(PAUSED)
        desired = PAUSED
        while desired == PAUSED:
            began = time.monotonic()
            self._control.poll(None if self.world_size == 1 else HOLD_SECONDS)
            self._held_seconds += time.monotonic() - began
            desired = self._agree(pace=HOLD_SECONDS)
        self._agreements = 0
        return desired

    def _observe(self, state: str) -> None:
        if state != self._observed:
            self._observed = state
            resumed, self._resumed = self._resumed, None
            extra = {} if resumed is None else {"resumed": resumed}
            self._journal.write({"type": state, "step": self.step, **extra})


_current: Run | None = None


def current() -> Run:
    """The run of this process. Off the farm: one that trains here, with ./aifarm-run/ as home; a
    rank of several where torchrun started it."""
    global _current
    if _current is None:
        ranks = Gang(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))
        _current = Run(Path("aifarm-run"), config={}, gang=ranks)
    return _current


def enter(run: Run) -> None:
    """Makes `run` the one that `current` returns."""
    global _current
    _current = run
