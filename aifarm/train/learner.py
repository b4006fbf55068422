"""What a task trains: the package's model, data and optimizer, and what is computed with them."""

from __future__ import annotations

import contextlib
import warnings
from types import ModuleType
from typing import Any

from aifarm.train import batches, checkpoint, defaults, links
from aifarm.train.measuring import measures
from aifarm.train.package import PackageInvalid
from aifarm.train.reference import evaluating
from aifarm.train.run import Run
from aifarm.train.stepping import Stepper

NOTHING = contextlib.nullcontext()


class Learner:
    """Built from `package`; `doing` is what an exception is to be blamed on."""

    def __init__(self, run: Run, package: ModuleType) -> None:
        self.run = run
        self.package = package
        self.doing = "reading the config"

    def build(self, cfg: dict[str, Any]) -> None:
        """Everything but the parallel model, which a checkpoint precedes."""
        from torch import nn

        run = self.run
        self.seed, self.batch_size = cfg["seed"], cfg["batch_size"]
        self.pieces = cfg["grad_accumulation"]
        self.compressed: bool | None = (
            None if cfg["compress_gradients"] == "auto" else (cfg["compress_gradients"])
        )
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
        self.optimizer = self._call("build_optimizer", self.model, dict(cfg))
        self.scheduler = self._call("build_scheduler", self.optimizer, dict(cfg))
        self.loss = self._function("loss")
        self.stepper = Stepper(self.model, self.optimizer, cfg, run.device)
        self.doing = "metrics"
        self.measures = measures(self._function("metrics"), dict(cfg), run.gang, run.device)
        if cfg["compile"]:
            # Static: a shape's kernel must not depend on the shapes that came before it.
            self.model.compile(dynamic=False)

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict() if self.scheduler else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.stepper.scaler.load_state_dict(state["loop"]["scaler"])
        if self.compressed is None and len(state["rng"]) == self.run.world_size:
            self.compressed = state["loop"].get("compressed")  # the same bits, whatever the links

    def distribute(self) -> None:
        """Makes the model one of all ranks."""
        self.doing = "distributing the model"
        gang, device = self.run.gang, self.run.device
        self.parallel = gang.parallel(self.model)
        if self.run.world_size == 1:
            return
        size = links.gradient_bytes(self.model)
        found = links.measure(gang, device, size)
        compute = self._settle_buckets()
        if self.compressed is None:
            self.compressed = found.seconds(size / links.MIB, gang.world_size) > compute
        if self.compressed:
            gang.compress(self.parallel)
            size //= 2
        self.run.measured(found, size / links.MIB, compute)

    def begin_epoch(self, epoch: int) -> None:
        self._order = batches.order(len(self.train_data), self.seed, epoch)

    def _function(self, name: str) -> Any:
        """The package's function, else the default one."""
        own = getattr(self.package, name, None)  # may be a module: `from sklearn import metrics`
        return own if callable(own) else getattr(defaults, name)

    def _call(self, name: str, *arguments: Any) -> Any:
        self.doing = name
        return self._function(name)(*arguments)

    def step(self, number: int) -> dict[str, Any]:
        """Trains on batch `number` of this epoch; returns its loss, learning rate and metrics."""
        learning_rate = self.optimizer.param_groups[0]["lr"]
        report = self._gradients(number)
        self.doing = "the optimizer's step"
        self.stepper.step()
        return {**report, "learning_rate": learning_rate}

    def _gradients(self, number: int, alone: bool = False) -> dict[str, Any]:
        """Leaves the gradients of batch `number` of this epoch, `alone` those of this rank's part
        of it; returns what is known of it."""
        size = min(self.batch_size, len(self._order))
        own = self._share(self._order[number * size : (number + 1) * size])
        self.optimizer.zero_grad()
        known = []
        for piece in range(self.pieces):
            indices = batches.share(own, piece, self.pieces)
            with self._gradients_kept(alone or piece < self.pieces - 1):
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
        return self.parallel.no_sync() if kept and self.run.world_size > 1 else NOTHING

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

    def evaluate(self) -> dict[str, float] | None:
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

    def reference_loss(self) -> float:
        """Of the first training samples, with the same random numbers each time."""
        import torch

        indices = torch.arange(min(self.batch_size, len(self.train_data)))
        with evaluating(self.model, self.run.device):
            checkpoint.seed_everything(self.seed)
            return float(self._forward(self.model, self.train_data, indices)[2])

    def step_scheduler(self) -> None:
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

    def _settle_buckets(self) -> float:
        """Passes thrown away; returns the seconds that a rank computes for a step.

        DDP orders its buckets anew after the first pass, and sums in another order from then on.
        A resumed run has to begin with the settled order, as the uninterrupted one goes on.
        """
        buffers = [buffer.clone() for buffer in self.model.buffers()]
        self._gradients(0)
        gang, device = self.run.gang, self.run.device
        seconds = links.seconds_of(lambda: self._gradients(0, alone=True), gang, device)
        self._gradients(0)
        self.optimizer.zero_grad()
        for buffer, before in zip(self.model.buffers(), buffers):
            buffer.data.copy_(before)
        return seconds
