"""The built-in trainer: trains a declarative package, exactly resumable in mid-epoch.

A package has `build_model(cfg)` and `build_data(cfg)` -> Dataset or (train, validation), and may
have `build_optimizer(model, cfg)`, `build_scheduler(optimizer, cfg)` (stepped after each epoch),
`loss(out, batch)` (a mean over the batch), `metrics(out, batch)` (a dict of such means) or
`metrics(cfg)` (a dict of torchmetrics' objects), and `defaults`, a dict of its settings. What it
leaves out is in `defaults.py` and `settings.py`.

`batch_size` counts the samples of one step over all ranks and all pieces of `grad_accumulation`,
so that a task learns the same at any world size. The ragged end of an epoch is left out; each
epoch has its own order.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from aifarm.train import batches, checkpoint, settings
from aifarm.train.goals import Goal
from aifarm.train.learner import Learner
from aifarm.train.package import PackageInvalid
from aifarm.train.reference import compare
from aifarm.train.run import Run


class Trainer:
    """Trains `package` in `run`: steps, evaluations, checkpoints, and the end."""

    def __init__(self, run: Run, package: ModuleType) -> None:
        self.run = run
        self.package = package
        self.learner = Learner(run, package)
        self.epoch = self.batch = self.step = 0
        self.evaluated = 0  # the step of the last evaluation
        self._saved_step = 0
        self._improved = False  # whether the last step's evaluation was the best

    @property
    def doing(self) -> str:
        """What an exception is to be blamed on."""
        return self.learner.doing

    def train(self) -> dict[str, float] | None:
        """Trains to the end: `final_loss`, `final_accuracy` where known, and `training_time` in
        seconds over all attempts, holds excluded. None when it was stopped, after a checkpoint.

        With validation data the loss and the metrics of the end are measured on them.
        """
        self._build()
        stopped = self.run.should_stop() or not self._conclude_step()
        while not stopped and not self._is_over():
            self._train_step()
            stopped = self.run.should_stop() or not self._conclude_step()
        self._save(final=not stopped, best=self._improved and not stopped, wait=True)
        return None if stopped else self._final_metrics()

    def _build(self) -> None:
        run = self.run
        declared = getattr(self.package, "defaults", None)
        cfg = self.cfg = settings.complete(
            run.config, declared if isinstance(declared, dict) else None
        )
        run.adopt(cfg)
        self.best, self.patience = _goals(cfg)
        # Not in what checkpoints keep: it is another one in each attempt.
        self.learner.build({"data_dir": str(run.data_dir), **cfg})
        self.batches = self.learner.batches
        self.steps = cfg["epochs"] * self.batches
        self.evaluates = self.learner.val_data is not None
        self.learner.doing = "build_data"
        if not self.evaluates and (self.best or self.patience or cfg["eval_every"]):
            raise PackageInvalid(
                "best, early_stopping and eval_every need validation data: have build_data return "
                "a pair (train, validation)"
            )
        if run.rank:  # each rank draws its own noise
            checkpoint.seed_everything(batches.derived_seed(cfg["seed"], "rank", run.rank))
        rng = checkpoint.rng_state(run.device)
        path = run.latest_checkpoint()
        if path is not None:
            self.learner.doing = "resuming from the checkpoint"
            rng = self._restore(checkpoint.load(path))
        self.learner.begin_epoch(self.epoch)
        self.learner.distribute()
        checkpoint.restore_rng(rng, run.device)

    def _restore(self, state: dict[str, Any]) -> dict[str, Any]:
        """Takes up where `state` was saved; returns the state of this rank's generators."""
        self.learner.restore(state)
        position = state["position"]
        self.epoch, self.batch, self.step = (position[k] for k in ("epoch", "batch", "step"))
        loop = state["loop"]
        self.evaluated = loop["evaluated"]
        for goal, saved in ((self.best, loop["best"]), (self.patience, loop["patience"])):
            if goal and saved:
                goal.load_state_dict(saved)
        self._saved_step = self.run.step = self.step
        self.run.progress = self._progress()
        self.run.metrics.update(state["metrics"])
        self.run.resumed(state["metrics"]["training_time"], **self._verify(state["reference"]))
        if len(state["rng"]) == self.run.world_size:
            own: dict[str, Any] = state["rng"][self.run.rank]
            return own
        # Another world size: no generator fits, so each rank begins a new one.
        seed = batches.derived_seed(self.cfg["seed"], "rank", self.run.rank, "step", self.step)
        checkpoint.seed_everything(seed)
        return checkpoint.rng_state(self.run.device)

    def _verify(self, expected: float | None) -> dict[str, Any]:
        """Whether the restored model computes the loss that the saved one did."""
        if expected is None or self.run.rank:
            return {}
        found = self.learner.reference_loss()
        same = compare(expected, found)
        verdict = "is what it was" if same else f"was {expected:.6g}: it is not the same training"
        print(  # noqa: T201 (it is the task's log)
            f"Resumed at step {self.step}: the loss of the reference batch is {found:.6g}, "
            f"{verdict}.",
            flush=True,
        )
        return {"loss": found, "expected": expected, "verified": same}

    def _is_over(self) -> bool:
        patience = self.cfg["early_stopping"]
        lost = self.patience is not None and self.patience.waited >= patience["patience"]
        return self.step >= self.steps or lost or self.run.time_is_up

    def _train_step(self) -> None:
        report = self.learner.step(self.batch)
        self.batch += 1
        self.step += 1
        self.run.report(step=self.step, progress=self._progress(), **report)

    def _conclude_step(self) -> bool:
        """What is due after a step: evaluation, the scheduler, a checkpoint. False when it was
        stopped in it; a resumed run begins here."""
        run, best = self.run, False
        if self._evaluation_is_due():
            evaluated = self.learner.evaluate()
            if evaluated is None:
                return False
            run.report(step=self.step, progress=self._progress(), **evaluated)
            self.evaluated = self.step
            self.learner.doing = "the best value and early stopping"
            best = self.best is not None and self.best.take(evaluated)
            if self.patience is not None:
                self.patience.take(evaluated)
        if self.batch == self.batches:
            self.learner.step_scheduler()
            self.epoch += 1
            self.batch = 0
            self.learner.begin_epoch(self.epoch)
        self._improved = best
        new = self.step > self._saved_step and not self._is_over()  # at its end train() saves
        if new and (best or run.checkpoint_due(epoch_end=self.batch == 0)):
            self._save(best=best)
        return True

    def _evaluation_is_due(self) -> bool:
        if not self.evaluates or self.evaluated == self.step:
            return False
        return self.step % (self.cfg["eval_every"] or self.batches) == 0 or self._is_over()

    def _progress(self) -> float:
        return 100.0 * self.step / self.steps

    def _save(self, final: bool = False, best: bool = False, wait: bool = False) -> None:
        run = self.run
        self.learner.doing = "writing the checkpoint"
        self._saved_step = self.step
        run.metrics["training_time"] = run.training_seconds
        verifiable = self.cfg["verify_resume"] and not final and run.rank == 0
        state = {
            "format": checkpoint.FORMAT,
            **self.learner.state(),
            "rng": run.gang.gather(checkpoint.rng_state(run.device)),
            "position": {"epoch": self.epoch, "batch": self.batch, "step": self.step},
            "loop": {
                "evaluated": self.evaluated,
                "scaler": self.learner.stepper.scaler.state_dict(),
                "compressed": self.learner.compressed,
                "best": self.best.state_dict() if self.best else None,
                "patience": self.patience.state_dict() if self.patience else None,
            },
            "reference": self.learner.reference_loss() if verifiable else None,
            "config": self.cfg,
            "metrics": run.latest_metrics(),
        }
        run.checkpoint(state, epoch=self.epoch, final=final, best=best, wait=wait)

    def _final_metrics(self) -> dict[str, float]:
        latest = self.run.latest_metrics()
        final = {
            "final_loss": latest.get("val_loss", latest.get("loss")),
            "final_accuracy": latest.get("accuracy"),
            "training_time": latest["training_time"],
        }
        return {name: value for name, value in final.items() if value is not None}


def _goals(cfg: dict[str, Any]) -> tuple[Goal | None, Goal | None]:
    """What the best checkpoint and early stopping look at."""
    best, early = cfg["best"], cfg["early_stopping"]
    patience = early and {name: early[name] for name in early if name != "patience"}
    return Goal(**best) if best else None, Goal(**patience) if patience else None
