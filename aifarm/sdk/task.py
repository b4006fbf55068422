"""A task as a researcher holds it."""

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aifarm.sdk import calls
from aifarm.sdk.checkpoint import Checkpoint
from aifarm.sdk.errors import AIFarmError, NotFound, TaskFailed
from aifarm.sdk.follow import FINAL, follow_log, read_log, watch
from aifarm.sdk.http import Http
from aifarm.wire import rest
from aifarm.wire.types import JSON, Metrics

Column = list[int] | list[float] | list[float | None]


class Task:
    """One training task of the farm.

    Its attributes ask the farm each time until the task is over; `info` holds what was last
    heard, and `refresh()` asks once for all fields together.
    """

    def __init__(self, http: Http, info: rest.TaskFull) -> None:
        self._http = http
        self.info = info

    def __repr__(self) -> str:
        info = self.info
        return f"<Task {info.id} {info.name!r}: {info.status}, {info.progress:.0f} %>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    # ------------------------------------------------------------ what it is

    def refresh(self) -> rest.TaskFull:
        """The task as it is now, all fields of one moment. Raises NotFound once deleted."""
        if self.info.status not in FINAL:
            self.info = self._http.send(calls.get_task(self.id))
        return self.info

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def name(self) -> str:
        """The package's name."""
        return self.info.name

    @property
    def config(self) -> dict[str, JSON]:
        """What the training code sees."""
        return self.info.config

    @property
    def submitter(self) -> str:
        return self.info.submitter

    @property
    def created_at(self) -> datetime:
        return self.info.created_at

    @property
    def status(self) -> str:
        """pending, assigned, running, paused, unreachable; completed, failed, stopped."""
        return self.refresh().status

    @property
    def done(self) -> bool:
        """Whether the status is final."""
        return self.status in FINAL

    @property
    def progress(self) -> float:
        """Percent, 0 to 100."""
        return self.refresh().progress

    @property
    def metrics_latest(self) -> Metrics:
        """The latest value of each metric; None where it was no finite number."""
        return self.refresh().metrics

    @property
    def clients(self) -> list[str]:
        """The clients of the current attempt, by rank."""
        return self.refresh().clients

    @property
    def attempt(self) -> int:
        """The number of the current attempt; 0 before the first."""
        return self.refresh().attempt

    # ------------------------------------------------------------ waiting

    def wait(self, timeout: float | None = None) -> "Task":
        """Blocks until the task is over, at most `timeout` seconds, and returns it.

        A stopped task returns too. Raises TaskFailed with the cause, WaitTimeout (a
        TimeoutError), NotFound when it is deleted meanwhile. A server that is away meanwhile is
        waited for.
        """
        for _ in watch(self._http, [self], timeout):
            pass
        if self.info.status == "failed":
            raise TaskFailed(self, self.info.cause or "unknown", self.info.message or "no reason")
        return self

    def watch(self) -> Iterator[rest.TaskFull]:
        """The task now, and again at each change, until it is over."""
        return (task.info for task in watch(self._http, [self]))

    # ------------------------------------------------------------ steering

    def pause(self, reason: str | None = None) -> rest.StatusFull:
        """Asks the training loop to hold; the answer says what is desired and what observed.

        Raises Conflict when the task is over.
        """
        return self._set("paused", reason)

    def resume(self, reason: str | None = None) -> rest.StatusFull:
        """Asks a paused task to go on. Raises Conflict when the task is over."""
        return self._set("running", reason)

    def stop(self, reason: str | None = None) -> rest.StatusFull:
        """Asks the task to write a checkpoint and end. Raises Conflict when it is over."""
        return self._set("stopped", reason)

    def _set(self, status: str, reason: str | None) -> rest.StatusFull:
        body = calls.valid(rest.UpdateStatus, status=status, reason=reason)
        return self._http.send(calls.set_status(self.id, body))

    # ------------------------------------------------------------ what it left

    def metrics(
        self, names: Iterable[str] = (), points: int | None = 1000
    ) -> dict[str, dict[str, Column]]:
        """Each metric's history as columns of equal length: step, time, value, min, max.

        `time` in seconds since the epoch. No more than `points` rows a metric (None: every one);
        thinned, a row stands for a bucket with its last value, its min and its max.
        """
        wanted = [names] if isinstance(names, str) else names
        history = self._http.send(calls.metrics(self.id, names=wanted, points=points))
        return {
            series.name: {
                "step": series.step,
                "time": series.time,
                "value": series.value,
                "min": series.min,
                "max": series.max,
            }
            for series in history.series
        }

    def logs(
        self, rank: int = 0, *, attempt: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        """Lines of one rank's output: of the latest attempt, or of number `attempt`.

        With `follow`, new lines as they come until the task is over; without `attempt` that
        includes the attempts still to come.
        """
        if follow:
            return follow_log(self._http, self, rank, attempt)
        return read_log(self._http, self.id, rank, attempt)

    def events(self) -> list[rest.EventFull]:
        """The task's story so far, oldest first."""
        story: list[rest.EventFull] = []
        page = self._http.send(calls.events(self.id))
        while page.events:
            story += page.events
            page = self._http.send(calls.events(self.id, after=page.next))
        return story

    def attempts(self) -> list[rest.AttemptFull]:
        """Each try so far: where, when, how it ended, and the provenance of its workers."""
        return self._http.send(calls.attempts(self.id)).attempts

    def why(self) -> rest.Why:
        """Why the task waits: one sentence, and for each client the first thing it misses."""
        return self._http.send(calls.why(self.id))

    def checkpoints(self) -> list[Checkpoint]:
        """Every stored checkpoint, newest first."""
        found = self._http.send(calls.checkpoints(self.id)).checkpoints
        return [Checkpoint(self._http, self.id, info) for info in found]

    def checkpoint(self) -> Checkpoint:
        """The newest checkpoint. Raises NotFound before the first one."""
        found = self.checkpoints()
        if not found:
            raise NotFound(f"Task {self.id} has no checkpoint yet: the first follows an epoch.")
        return found[0]

    def state_dict(self, map_location: Any = "cpu") -> dict[str, Any]:
        """The model's weights from the newest checkpoint, for `model.load_state_dict`.

        Loaded with `weights_only=True`, onto `map_location`. Raises NotFound without a
        checkpoint, AIFarmError without PyTorch.
        """
        try:
            import torch
        except ImportError:
            raise AIFarmError(
                "Weights are loaded with PyTorch, which this Python does not have: install torch, "
                "or use checkpoint().download(path)."
            ) from None
        with TemporaryDirectory(prefix="aifarm-") as folder:
            path = self.checkpoint().download(Path(folder))
            loaded = torch.load(os.fspath(path), map_location=map_location, weights_only=True)
        if not isinstance(loaded, dict) or "model" not in loaded:
            raise AIFarmError("The checkpoint holds no `model`: a script saved it its own way.")
        state: dict[str, Any] = loaded["model"]
        return state
