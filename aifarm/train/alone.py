"""What stands in for the agent where a script runs off the farm."""

from __future__ import annotations

from typing import Any

from aifarm.train.control import RUNNING


class NoJournal:
    """Off the farm nobody reads."""

    def point(self, step: int, metrics: dict[str, Any], progress: float) -> None: ...

    def flush_if_due(self) -> None: ...

    def write(self, line: dict[str, Any]) -> None: ...


class NoControl:
    """Off the farm nobody interferes."""

    def poll(self, timeout: float | None = 0.0) -> str:
        return RUNNING
