"""What a metric is wanted to do: the best value so far, and how long there was no better one."""

from __future__ import annotations

from typing import Any


class Goal:
    """The best value of `metric`; `mode`: whether "min" or "max" is better.

    `waited` counts the values since the best one.
    """

    def __init__(self, metric: str, mode: str = "min") -> None:
        self.metric = metric
        self.mode = mode
        self.best: float | None = None
        self.waited = 0

    def take(self, metrics: dict[str, float]) -> bool:
        """Takes in the next value; True when it is better than all before.

        Raises ValueError where `metrics` lacks it.
        """
        if self.metric not in metrics:
            known = ", ".join(metrics) or "nothing"
            raise ValueError(f"there is no metric {self.metric!r} to watch; measured: {known}")
        value = metrics[self.metric]
        worst = float("inf") if self.mode == "min" else float("-inf")
        best = worst if self.best is None else self.best
        if value < best if self.mode == "min" else value > best:
            self.best, self.waited = value, 0
            return True
        self.waited += 1
        return False

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.waited = state["best"], state["waited"]
