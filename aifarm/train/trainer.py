"""The built-in trainer: trains a declarative package, exactly resumable in mid-epoch.

A package has `build_model(cfg)` and `build_data(cfg)` -> Dataset or (train, validation), and may
have `build_optimizer(model, cfg)`, `build_scheduler(optimizer, cfg)` (stepped after each epoch),
`loss(out, batch)` (a mean over the batch) and `metrics(out, batch)` (a dict of such means). What
it leaves out is in `defaults.py`.

`batch_size` counts the samples of one step over all ranks, so that a task learns the same at any
world size. The ragged end of an epoch is left out; each epoch has its own order.
"""

from __future__ import annotations

import time
import warnings
from types import ModuleType
from typing import Any

from aifarm.train import batches, checkpoint, defaults
from aifarm.train.package import PackageInvalid
from aifarm.train.run import Run


class Trainer:
    """Trains `package` in `run`; `doing` is what an exception is to be blamed on."""

    def __init__(self, run: Run, package: ModuleType) -> None:
        self.run = run
        self.package = package
        self.cfg = defaults.complete(run.config)
        self.doing = "reading the config"
        self.epoch = self.batch = self.step = 0
        self._seconds_before = 0.0  # training time of earlier attempts

    def train(self) -> dict[str, float] | None:
        """Trains to the end: `final_loss`, `final_accuracy` where known, and `training_time` in
        seconds over all attempts, holds excluded. None when it was stopped, after a checkpoint.

        With validation data the loss and the metrics of the end are measured on them.
        """
        self._build()
        self._began = time.monotonic()
        stopped = self.run.should_stop()
        while not stopped and self.epoch < self.epochs:
            stopped = self._train_epoch()
        self._save(final=not stopped)
        return None if stopped else self._final_metrics()

    def _build(self) -> None:
        from torch import nn

        run, cfg = self.run, self.cfg
        self.seed = defaults.whole_number(cfg, "seed", least=0)
        self.epochs = defaults.whole_number(cfg, "epochs", least=1)
        self.batch_size = defaults.whole_number(cfg, "batch_size", least=1)
        checkpoint.seed_everything(self.seed)

        model = self._call("build_model", dict(cfg))
        if not isinstance(model, nn.Module):
            raise PackageInvalid(
                f"build_model returned {type(model).__name__}, not a torch.nn.Module"
            )
        self.model = model.to(run.device)
        self.train_data, self.val_data = batches.split(self._call("build_data", dict(cfg)))
        self.batches = batches.count(len(self.train_data), self.batch_size, run.world_size)
        self.optimizer = self._call("build_optimizer", self.model, dict(cfg))
        self.scheduler = self._call("build_scheduler", self.optimizer, dict(cfg))
        self.loss = self._function("loss")
        self.metrics = self._function("metrics")

        if run.rank:  # each rank draws its own noise
            checkpoint.seed_everything(batches.derived_seed(self.seed, "rank", run.rank))
        rng = checkpoint.rng_state(run.device)
        path = run.latest_checkpoint()
        if path is not None:
            self.doing = "resuming from the checkpoint"
            rng = self._restore(checkpoint.load(path))
        self._order = batches.order(len(self.train_data), self.seed, self.epoch)
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
        self.run.step, self.run.progress = self.step, self._progress()
        self.run.metrics.update(state["metrics"])
        self._seconds_before = state["metrics"]["training_time"]
        if len(state["rng"]) == self.run.world_size:
            own: dict[str, Any] = state["rng"][self.run.rank]
            return own
        # Another world size: no generator fits, so each rank begins a new one.
        seed = batches.derived_seed(self.seed, "rank", self.run.rank, "step", self.step)
        checkpoint.seed_everything(seed)
        return checkpoint.rng_state(self.run.device)

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

    def _train_epoch(self) -> bool:
        """Trains the rest of the current epoch and evaluates; True when it was stopped."""
        run = self.run
        while self.batch < self.batches:
            report = self._train_step()
            self.batch += 1
            self.step += 1
            run.report(step=self.step, progress=self._progress(), **report)
            if run.should_stop():
                return True
            if run.checkpoint_due():
                self._save()
        if self.val_data is not None:
            evaluated = self._evaluate()
            if evaluated is None:
                return True
            run.report(step=self.step, progress=self._progress(), **evaluated)
        self._step_scheduler()
        self.epoch += 1
        self.batch = 0
        self._order = batches.order(len(self.train_data), self.seed, self.epoch)
        if self.epoch < self.epochs and run.checkpoint_due(epoch_end=True):
            self._save()
        return False

    def _train_step(self) -> dict[str, Any]:
        learning_rate = self.optimizer.param_groups[0]["lr"]
        batch, out, loss = self._forward_and_backward(self.batch)
        self.doing = "the optimizer's step"
        self.optimizer.step()
        report = {"loss": loss, "learning_rate": learning_rate}
        if self.val_data is None:
            self.doing = "metrics"
            report.update(self.metrics(out.detach() if hasattr(out, "detach") else out, batch))
        return report

    def _forward_and_backward(self, number: int) -> tuple[Any, Any, Any]:
        """Leaves the gradients of batch `number` of this epoch; returns (batch, out, loss)."""
        size = min(self.batch_size, len(self._order))
        own = self._share(self._order[number * size : (number + 1) * size])
        batch, out, loss = self._forward(self.parallel, self.train_data, own)
        self.doing = "the backward pass"
        self.optimizer.zero_grad()
        # DDP averages over the ranks; weighting by this rank's share makes that the batch's mean.
        (loss * (len(own) * self.run.world_size / size)).backward()
        return batch, out, loss

    def _forward(self, model: Any, dataset: Any, indices: Any) -> tuple[Any, Any, Any]:
        """The samples at `indices` through `model`: (batch, out, loss).

        A batch that is a tuple or list is (inputs…, target), or inputs alone; any other (a dict,
        a tensor) is given to the model whole.
        """
        self.doing = "reading the data"
        batch = batches.move(batches.fetch(dataset, indices), self.run.device)
        self.doing = "the forward pass"
        is_tuple = isinstance(batch, (tuple, list))
        out = model(*(batch[:-1] or batch)) if is_tuple else model(batch)
        self.doing = "the loss"
        return batch, out, self.loss(out, batch)

    def _share(self, indices: Any) -> Any:
        return batches.share(indices, self.run.rank, self.run.world_size)

    def _evaluate(self) -> dict[str, float] | None:
        """`val_loss` and the metrics, as means over the validation data; None when stopped.

        Leaves every generator as it was, so that evaluating does not change the training.
        """
        import torch

        run, samples = self.run, len(self.val_data)
        rng = checkpoint.rng_state(run.device)
        run.gang.share_buffers(self.model)
        self.model.eval()
        sums = batches.Sums()
        try:
            with torch.no_grad():
                for indices in torch.split(torch.arange(samples), self.batch_size):
                    own = self._share(indices)
                    if len(own):
                        batch, out, loss = self._forward(self.model, self.val_data, own)
                        self.doing = "metrics"
                        sums.add({"val_loss": loss, **self.metrics(out, batch)}, len(own))
                    if run.should_stop():
                        return None
        finally:
            self.model.train()
            checkpoint.restore_rng(rng, run.device)
        return batches.Sums.total(run.gang.gather(sums)).means()

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
        return min(100.0, 100.0 * self.step / (self.epochs * self.batches))

    def _save(self, final: bool = False) -> None:
        run = self.run
        self.doing = "writing the checkpoint"
        seconds = time.monotonic() - self._began - run.held_seconds
        run.metrics["training_time"] = self._seconds_before + seconds
        state = {
            "format": checkpoint.FORMAT,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else None,
            "rng": run.gang.gather(checkpoint.rng_state(run.device)),
            "position": {"epoch": self.epoch, "batch": self.batch, "step": self.step},
            "config": self.cfg,
            "metrics": run.latest_metrics(),
        }
        run.checkpoint(batches.move(state, "cpu"), epoch=self.epoch, final=final)

    def _final_metrics(self) -> dict[str, float]:
        latest = self.run.latest_metrics()
        final = {
            "final_loss": latest.get("val_loss", latest.get("loss")),
            "final_accuracy": latest.get("accuracy"),
            "training_time": latest["training_time"],
        }
        return {name: value for name, value in final.items() if value is not None}
