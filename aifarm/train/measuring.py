"""The package's metrics: means over a batch, or torchmetrics' objects."""

from __future__ import annotations

import inspect
from typing import Any, Callable

from aifarm.train import batches
from aifarm.train.package import PackageInvalid

Function = Callable[[Any, Any], "dict[str, Any]"]


class Means:
    """Of `metrics(out, batch)`, a dict of means over the batch."""

    def __init__(self, function: Function, gang: Any) -> None:
        self._function = function
        self._gang = gang
        self._sums = batches.Sums()

    def add(self, out: Any, batch: Any, samples: int, **means: Any) -> None:
        """Takes in a batch of `samples`, and `means` that are known of it."""
        self._sums.add({**means, **self._function(out, batch)}, samples)

    def take(self) -> dict[str, float]:
        """The means over all samples of all ranks since the last call."""
        sums, self._sums = self._sums, batches.Sums()
        return batches.Sums.total(self._gang.gather(sums)).means()

    def of(self, out: Any, batch: Any) -> dict[str, Any]:
        """The means over this batch alone."""
        return self._function(out, batch)


class Objects:
    """Of `metrics(cfg)`, a dict of torchmetrics.Metric: they add up themselves, and over the
    ranks, too. Each has a number as its value."""

    def __init__(self, metrics: dict[str, Any], gang: Any) -> None:
        self._metrics = metrics
        self._losses = Means(lambda out, batch: {}, gang)

    def add(self, out: Any, batch: Any, samples: int, **means: Any) -> None:
        self._losses.add(out, batch, samples, **means)
        for metric in self._metrics.values():
            metric.update(out, batch[-1])

    def take(self) -> dict[str, float]:
        values = {name: float(metric.compute()) for name, metric in self._metrics.items()}
        for metric in self._metrics.values():
            metric.reset()
        return {**self._losses.take(), **values}

    def of(self, out: Any, batch: Any) -> dict[str, Any]:
        return {}  # they are for validation: over the ranks they would hold up each step


def measures(function: Callable[..., Any], cfg: dict[str, Any], gang: Any, device: Any) -> Any:
    """What `function` is: metrics(out, batch), or metrics(cfg) that makes torchmetrics' objects."""
    if len(inspect.signature(function).parameters) != 1:
        return Means(function, gang)
    made = function(cfg)
    if not isinstance(made, dict) or not all(hasattr(m, "compute") for m in made.values()):
        raise PackageInvalid(
            f"metrics(cfg) returned a {type(made).__name__}; it must return a dict of names and "
            "torchmetrics.Metric objects, or take (out, batch)"
        )
    return Objects({name: metric.to(device) for name, metric in made.items()}, gang)
