"""The loop of a script: what `Run.track`, `Run.epochs` and `Run.batches` do.

Its exactness rests on two states of the random generators: that of the epoch's beginning, from
which the order of samples is drawn again, and that of the moment, from which the training goes on.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from aifarm.train import checkpoint
from aifarm.train.batches import derived_seed
from aifarm.train.goals import Goal
from aifarm.train.loading import Loading


class Stopped(SystemExit):
    """Ends a script at a step boundary, once its checkpoint is written."""


class Loop:
    """Position, tracked state and checkpoints of the script in `run`."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self._tracked: dict[str, Any] = {}
        self._epoch = self._batch = 0  # what comes next
        self._epochs = 1
        self._goal: Goal | None = None
        self._state: dict[str, Any] | None = None  # of the checkpoint; {}: there was none
        self._own: dict[str, Any] = {}  # of it, the generators of this rank
        self._loading = Loading(run)
        self._saved_step = self._best_step = -1
        self.counts = False  # whether steps are counted here, not by reports

    def track(self, things: dict[str, Any], best: dict[str, str] | None) -> None:
        for name, thing in things.items():
            if not (hasattr(thing, "state_dict") and hasattr(thing, "load_state_dict")):
                raise TypeError(
                    f"{name} is a {type(thing).__name__}, which has no state_dict to be saved"
                )
        self._begin()
        if best and self._goal is None:
            self._goal = Goal(**best)
            if self._state and self._state["loop"]["best"]:
                self._goal.load_state_dict(self._state["loop"]["best"])
        self._tracked.update(things)
        if self._state:
            saved = {"model": self._state["model"], **self._state["tracked"]}
            for name, thing in things.items():
                if name not in saved:
                    raise ValueError(f"the checkpoint has no {name}: it was not tracked then")
                _plain(thing).load_state_dict(saved[name])

    def epochs(self, count: int) -> Iterator[int]:
        run = self._run
        self._begin()
        self._epochs = max(1, count)
        if run.should_stop():
            self._leave()
        while self._epoch < count:
            if self._batch == 0 and self._own:
                checkpoint.restore_rng(self._own, run.device)
            yield self._epoch
            self._epoch += 1
            self._batch, self._own = 0, {}
            run.progress = 100.0 * self._epoch / self._epochs
            self._boundary(epoch_end=True)
        self._save(wait=True)

    def batches(self, loader: Any, grad_accumulation: int) -> Iterator[Any]:
        run = self._run
        self._begin()
        self.counts = True
        source, count = self._loading.open(loader, self._epoch, self._batch, self._own)
        for batch in source:
            run.step += 1
            if count:
                done = self._epoch + (self._batch + 1) / count
                run.progress = min(100.0, 100.0 * done / self._epochs)
            yield batch
            self._batch += 1
            if self._batch % grad_accumulation == 0 or self._batch == count:
                self._boundary()

    def finish(self) -> None:
        """Writes the final checkpoint where something is tracked."""
        if self._tracked:
            self._save(final=True)

    def _begin(self) -> None:
        """Meets the other ranks and reads the checkpoint, once."""
        run = self._run
        if self._state is not None:
            return
        run.attend()
        run.gang.join(run.device)
        path = run.latest_checkpoint()
        if path is None:
            self._state = {}
            return
        state = self._state = checkpoint.load(path)
        position = state["position"]
        self._epoch, self._batch = position["epoch"], position["batch"]
        run.step = self._saved_step = position["step"]
        run.metrics.update(state["metrics"])
        run.resumed(state["loop"]["seconds"])
        if len(state["rng"]) == run.world_size:
            self._own = state["rng"][run.rank]
        else:  # No generator fits: each rank begins a new one. The order is the first rank's.
            seed = derived_seed(run.step, "rank", run.rank)
            checkpoint.seed_everything(seed)
            self._own = {**state["rng"][0], **checkpoint.rng_state(run.device)}
        # Resumed at an epoch's end, the optimizer has stepped, but not in this process.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        print(f"Resumed at step {run.step}, from {path}.", flush=True)  # noqa: T201 (for its log)

    def _boundary(self, epoch_end: bool = False) -> None:
        """Where the run can be paused, stopped or saved."""
        run, best = self._run, False
        if epoch_end and self._goal is not None:
            # The ranks measure different samples; all follow the first.
            value = run.gang.gather(run.latest_metrics().get(self._goal.metric))[0]
            best = value is not None and self._goal.take({self._goal.metric: value})
        if run.should_stop():
            self._leave()
        if best or run.checkpoint_due(epoch_end):
            self._save(best=best)

    def _leave(self) -> None:
        self._save(wait=True)
        raise Stopped(0)

    def _save(self, final: bool = False, best: bool = False, wait: bool = False) -> None:
        run = self._run
        if run.step == self._saved_step and not (final or best):
            if wait:
                run.settle()  # it is the same state
            return
        # The final one takes the place of that of its step, and of what is said of it.
        best = best or (final and self._best_step == run.step)
        self._saved_step = run.step
        self._best_step = run.step if best else self._best_step
        states = {name: _plain(thing).state_dict() for name, thing in self._tracked.items()}
        own = {**checkpoint.rng_state(run.device), **self._loading.state()}
        state = {
            "format": checkpoint.FORMAT,
            "model": states.pop("model", {}),
            "tracked": states,
            "rng": run.gang.gather(own),
            "position": {"epoch": self._epoch, "batch": self._batch, "step": run.step},
            "loop": {
                "best": self._goal.state_dict() if self._goal else None,
                "seconds": run.training_seconds,
            },
            "config": run.config,
            "metrics": run.latest_metrics(),
        }
        run.checkpoint(state, epoch=self._epoch, final=final, best=best, wait=wait)


def _plain(thing: Any) -> Any:
    """The model inside a DistributedDataParallel, whose names are the same at any world size."""
    from torch.nn.parallel import DistributedDataParallel

    return thing.module if isinstance(thing, DistributedDataParallel) else thing
