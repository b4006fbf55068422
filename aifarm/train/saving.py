"""Checkpoints are written behind the training: it waits only while its state is copied."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable

from aifarm.train import checkpoint
from aifarm.train.distributed import HostError

logger = logging.getLogger(__name__)

Told = Callable[[dict[str, Any]], None]


class Saver:
    """Writes states to `folder`, one at a time; keeps the newest `keep` files and the best.

    A thread writes; only the calls here, in the training thread, tell what was written.
    """

    def __init__(self, folder: Path, keep: int, tell: Told) -> None:
        self._folder = folder
        self._keep = keep
        self._tell = tell
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[checkpoint.Written] | None = None
        self._line: dict[str, Any] = {}
        self._best: Path | None = None

    @property
    def busy(self) -> bool:
        return self._writing is not None and not self._writing.done()

    def save(self, state: dict[str, Any], line: dict[str, Any]) -> None:
        """Begins to write a copy of `state`; `line` is what will be told of it.

        Waits for the one that is being written.
        """
        self.settle()
        self._line = line
        copy = snapshot(state)
        self._writing = self._thread.submit(checkpoint.save, copy, self._folder, line["step"])

    def collect(self) -> None:
        """Tells of what has been written since the last call."""
        if not self.busy:
            self.settle()

    def settle(self) -> None:
        """Waits until nothing is being written, and tells of it.

        A disk that refuses leaves the previous checkpoint intact and is told; for the final one
        it raises HostError.
        """
        if self._writing is None:
            return
        writing, line, self._writing = self._writing, self._line, None
        try:
            written = writing.result()
        except OSError as error:
            if line["final"]:
                raise HostError(f"the final checkpoint cannot be written: {error}") from error
            logger.warning("the checkpoint of step %d cannot be written: %s", line["step"], error)
            failed = {"type": "checkpoint_failed", "step": line["step"], "reason": str(error)}
            self._tell(failed)
            return
        if line["best"]:
            self._best = written.path
        told = {"path": str(written.path), "size": written.size, "sha256": written.sha256}
        self._tell({"type": "checkpoint", **line, **told})
        checkpoint.prune(self._folder, self._keep, self._best)


def snapshot(value: Any) -> Any:
    """`value` with a copy, on the CPU, of every tensor in its tuples, lists and dicts."""
    if hasattr(value, "detach"):
        value = value.detach()
        return value.clone() if value.is_cpu else value.cpu()
    if isinstance(value, dict):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(snapshot(item) for item in value)
    return value
