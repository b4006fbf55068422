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

import contextlib
import warnings
from types import ModuleType
from typing import Any

from aifarm.train import batches, checkpoint, defaults, settings
from aifarm.train.goals import Goal
from aifarm.train.measuring import measures
from aifarm.train.package import PackageInvalid
from aifarm.train.reference import compare, evaluating
from aifarm.train.run import Run
from aifarm.train.stepping import Stepper


class Trainer:
    """Trains `package` in `run`; `doing` is what an exception is to be blamed on."""

    def __init__(self, run: Run, package: ModuleType) -> None:
        self.run = run
        self.package = package
        self.doing = "reading the config"
        self.epoch = self.batch = self.step = 0
        self.evaluated = 0  # the step of the last evaluation
        self._saved_step = 0
        self._improved = False  # whether the last step's evaluation was the best

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
        from torch import nn

        run = self.run
        declared = getattr(self.package, "defaults", None)
        cfg = settings.complete(run.config, declared if isinstance(declared, dict) else None)
        self.cfg = cfg
        run.adopt(cfg)
        self.seed = cfg["seed"]
        self.batch_size = cfg["batch_size"]
        self.pieces = cfg["grad_accumulation"]
        self.best, self.patience = _goals(cfg)
        checkpoint.seed_everything(self.seed)

        model = self._call("build_model", dict(cfg))
        if not isinstance(model, nn.Module):
            raise PackageInvalid(
                f"build_model returned {type(model).__name__}, not a torch.nn.Module"
            )
        self.model = model.to(run.device)
        self.train_data, self.val_data = batches.split(self._call("build_data", dict(cfg)))
        samples = len(self.train_data)
        self.batches = batches.count(samples, self.batch_size, run.world_size, self.pieces)
        self.steps = cfg["epochs"] * self.batches
        if self.val_data is None and (self.best or self.patience or cfg["eval_every"]):
            raise PackageInvalid(
                "best, early_stopping and eval_every need validation data: have build_data return "
                "a pair (train, validation)"
            )
        self.optimizer = self._call("build_optimizer", self.model, dict(cfg))
        self.scheduler = self._call("build_scheduler", self.optimizer, dict(cfg))
        self.loss = self._function("loss")
        self.stepper = Stepper(self.model, self.optimizer, cfg, run.device)
        self.doing = "metrics"
        self.measures = measures(self._function("metrics"), dict(cfg), run.gang, run.device)
        if cfg["compile"]:
            # Static: a shape's kernel must not depend on the shapes that came before it.
            self.model.compile(dynamic=False)

        if run.rank:  # each rank draws its own noise
            checkpoint.seed_everything(batches.derived_seed(self.seed, "rank", run.rank))
        rng = checkpoint.rng_state(run.device)
        path = run.latest_checkpoint()
        if path is not None:
            self.doing = "resuming from the checkpoint"
            rng = self._restore(checkpoint.load(path))
        self._order = batches.order(samples, self.seed, self.epoch)
        self.doing = "distributing the model"
        self.parallel = run.gang.parallel(self.model)
        if run.world_size > 1:
            self._settle_buckets()
        checkpoint.restore_rng(rng, run.device)

    def _function(self, name: str) -> Any:
        """The package's function, else the default one."""
        own = getattr(self.package, name, None)  # may be a module: `from sklearn import metrics`
        return own if callable(own) else getattr(defaults, name)

    def _call(self, name: str, *arguments: Any) -> Any:
        self.doing = name
        return self._function(name)(*arguments)

    def _restore(self, state: dict[str, Any]) -> dict[str, Any]:
        """Takes up where `state` was saved; returns the state of this rank's generators."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        position = state["position"]
        self.epoch, self.batch, self.step = (position[k] for k in ("epoch", "batch", "step"))
        loop = state["loop"]
        self.evaluated = loop["evaluated"]
        self.stepper.scaler.load_state_dict(loop["scaler"])
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
        seed = batches.derived_seed(self.seed, "rank", self.run.rank, "step", self.step)
        checkpoint.seed_everything(seed)
        return checkpoint.rng_state(self.run.device)

    def _verify(self, expected: float | None) -> dict[str, Any]:
        """Whether the restored model computes the loss that the saved one did."""
        if expected is None or self.run.rank:
            return {}
        found = self._reference_loss()
        same = compare(expected, found)
        verdict = "is what it was" if same else f"was {expected:.6g}: it is not the same training"
        print(  # noqa: T201 (it is the task's log)
            f"Resumed at step {self.step}: the loss of the reference batch is {found:.6g}, "
            f"{verdict}.",
            flush=True,
        )
        return {"loss": found, "expected": expected, "verified": same}

    def _settle_buckets(self) -> None:
        """Two passes thrown away.

        DDP orders its buckets anew after the first pass, and sums in another order from then on.
        A resumed run has to begin with the settled order, as the uninterrupted one goes on.
        """
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        for _ in range(2):
            self._forward_and_backward(0)
        self.optimizer.zero_grad()
        for buffer, before in zip(self.model.buffers(), buffers):
            buffer.data.copy_(before)

    def _is_over(self) -> bool:
        patience = self.cfg["early_stopping"]
        lost = self.patience is not None and self.patience.waited >= patience["patience"]
        return self.step >= self.steps or lost or self.run.time_is_up

    def _train_step(self) -> None:
        learning_rate = self.optimizer.param_groups[0]["lr"]
        report = self._forward_and_backward(self.batch)
        self.doing = "the optimizer's step"
        self.stepper.step()
        self.batch += 1
        self.step += 1
        self.run.report(
            step=self.step, progress=self._progress(), **report, learning_rate=learning_rate
        )

    def _conclude_step(self) -> bool:
        """What is due after a step: evaluation, the scheduler, a checkpoint. False when it was
        stopped in it; a resumed run begins here."""
        run, best = self.run, False
        if self._evaluation_is_due():
            evaluated = self._evaluate()
            if evaluated is None:
                return False
            run.report(step=self.step, progress=self._progress(), **evaluated)
            self.evaluated = self.step
            self.doing = "the best value and early stopping"
            best = self.best is not None and self.best.take(evaluated)
            if self.patience is not None:
                self.patience.take(evaluated)
        if self.batch == self.batches:
            self._step_scheduler()
            self.epoch += 1
            self.batch = 0
            self._order = batches.order(len(self.train_data), self.seed, self.epoch)
        self._improved = best
        new = self.step > self._saved_step and not self._is_over()  # at its end train() saves
        if new and (best or run.checkpoint_due(epoch_end=self.batch == 0)):
            self._save(best=best)
        return True

    def _evaluation_is_due(self) -> bool:
        if self.val_data is None or self.evaluated == self.step:
            return False
        return self.step % (self.cfg["eval_every"] or self.batches) == 0 or self._is_over()

    def _forward_and_backward(self, number: int) -> dict[str, Any]:
        """Leaves the gradients of batch `number` of this epoch; returns what is known of it."""
        size = min(self.batch_size, len(self._order))
        own = self._share(self._order[number * size : (number + 1) * size])
        self.optimizer.zero_grad()
        known = []
        for piece in range(self.pieces):
            indices = batches.share(own, piece, self.pieces)
            with self._gradients_kept(piece < self.pieces - 1):
                batch, out, loss = self._forward(self.parallel, self.train_data, indices)
                self.doing = "the backward pass"
                # DDP averages over the ranks; weighting by this piece makes that the batch's mean.
                self.stepper.backward(loss * (len(indices) * self.run.world_size / size))
            values = {"loss": loss.detach()}
            if self.val_data is None:
                self.doing = "metrics"
                out = out.detach() if hasattr(out, "detach") else out
                values.update(self.measures.of(out, batch))
            known.append((values, len(indices)))
        return batches.mean(known)

    def _gradients_kept(self, kept: bool) -> Any:
        """Where gradients are to be summed up on this rank before they are averaged over all."""
        return self.parallel.no_sync() if kept and self.run.world_size > 1 else _NOTHING

    def _forward(self, model: Any, dataset: Any, indices: Any) -> tuple[Any, Any, Any]:
        """The samples at `indices` through `model`: (batch, out, loss).

        A batch that is a tuple or list is (inputs…, target), or inputs alone; any other (a dict,
        a tensor) is given to the model whole.
        """
        self.doing = "reading the data"
        batch = batches.move(batches.fetch(dataset, indices), self.run.device)
        with self.stepper.autocast():
            self.doing = "the forward pass"
            is_tuple = isinstance(batch, (tuple, list))
            out = model(*(batch[:-1] or batch)) if is_tuple else model(batch)
            self.doing = "the loss"
            return batch, out, self.loss(out, batch)

    def _share(self, indices: Any) -> Any:
        return batches.share(indices, self.run.rank, self.run.world_size)

    def _evaluate(self) -> dict[str, float] | None:
        """`val_loss` and the metrics over the validation data; None when stopped."""
        import torch

        run, samples = self.run, len(self.val_data)
        run.gang.share_buffers(self.model)
        with evaluating(self.model, run.device):
            for indices in torch.split(torch.arange(samples), self.batch_size):
                own = self._share(indices)
                if len(own):
                    batch, out, loss = self._forward(self.model, self.val_data, own)
                    self.doing = "metrics"
                    self.measures.add(out, batch, len(own), val_loss=loss)
                if run.should_stop():
                    return None
            return self.measures.take()

    def _reference_loss(self) -> float:
        """Of the first training samples, with the same random numbers each time."""
        import torch

        indices = torch.arange(min(self.batch_size, len(self.train_data)))
        with evaluating(self.model, self.run.device):
            checkpoint.seed_everything(self.seed)
            return float(self._forward(self.model, self.train_data, indices)[2])

    def _step_scheduler(self) -> None:
        from torch.optim.lr_scheduler import ReduceLROnPlateau

        if self.scheduler is None:
            return
        self.doing = "the scheduler's step"
        if isinstance(self.scheduler, ReduceLROnPlateau):
            latest = self.run.latest_metrics()
            losses = self.run.gang.gather(latest.get("val_loss", latest["loss"]))
            self.scheduler.step(sum(losses) / len(losses))
            return
        with warnings.catch_warnings():
            # Resumed at an epoch's end, the optimizer has stepped, but not in this process.
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            self.scheduler.step()

    def _progress(self) -> float:
        return 100.0 * self.step / self.steps

    def _save(self, final: bool = False, best: bool = False, wait: bool = False) -> None:
        run = self.run
        self.doing = "writing the checkpoint"
        self._saved_step = self.step
        run.metrics["training_time"] = run.training_seconds
        verifiable = self.cfg["verify_resume"] and not final and run.rank == 0
        state = {
            "format": checkpoint.FORMAT,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else None,
            "rng": run.gang.gather(checkpoint.rng_state(run.device)),
            "position": {"epoch": self.epoch, "batch": self.batch, "step": self.step},
            "loop": {
                "evaluated": self.evaluated,
                "scaler": self.stepper.scaler.state_dict(),
                "best": self.best.state_dict() if self.best else None,
                "patience": self.patience.state_dict() if self.patience else None,
            },
            "reference": self._reference_loss() if verifiable else None,
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


_NOTHING = contextlib.nullcontext()


def _goals(cfg: dict[str, Any]) -> tuple[Goal | None, Goal | None]:
    """What the best checkpoint and early stopping look at."""
    best, early = cfg["best"], cfg["early_stopping"]
    patience = early and {name: early[name] for name in early if name != "patience"}
    return Goal(**best) if best else None, Goal(**patience) if patience else None
