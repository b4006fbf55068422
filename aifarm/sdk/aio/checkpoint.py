"""A checkpoint of a task."""

import os
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from aifarm.sdk import calls
from aifarm.sdk.aio.download import AsyncDownload, file_at
from aifarm.sdk.aio.http import AsyncHttp
from aifarm.sdk.aio.runtime import aside
from aifarm.sdk.weights import model_weights
from aifarm.wire.requests import PinCheckpoint
from aifarm.wire.rest import CheckpointFull
from aifarm.wire.types import Metrics


class AsyncCheckpoint:
    """What a task resumes from, or ended with.

    `size` in bytes, `progress` in percent, `metrics` as they were at `step`; `final`: made by a
    completed training; `best`: none before it was better, so that the newest such one is the best.
    """

    def __init__(self, http: AsyncHttp, task_id: str, info: CheckpointFull) -> None:
        self._http = http
        self.task_id = task_id
        self.info = info

    def __repr__(self) -> str:
        return f"<Checkpoint {self.id} of task {self.task_id}, step {self.step}>"

    @property
    def id(self) -> str:
        return self.info.id

    @property
    def step(self) -> int:
        return self.info.step

    @property
    def epoch(self) -> int | None:
        return self.info.epoch

    @property
    def progress(self) -> float:
        return self.info.progress

    @property
    def size(self) -> int:
        return self.info.size

    @property
    def sha256(self) -> str:
        return self.info.sha256

    @property
    def metrics(self) -> Metrics:
        return self.info.metrics

    @property
    def final(self) -> bool:
        return self.info.final

    @property
    def best(self) -> bool:
        return self.info.best

    @property
    def created_at(self) -> datetime:
        return self.info.created_at

    @property
    def pinned(self) -> bool:
        """Whether it is kept until it is unpinned."""
        return self.info.pinned

    async def pin(self) -> None:
        """Keeps it, whatever the farm's policy clears away, until `unpin()`."""
        await self._pin(True)

    async def unpin(self) -> None:
        """Leaves it to the farm's policy again."""
        await self._pin(False)

    async def _pin(self, pinned: bool) -> None:
        call = calls.pin_checkpoint(self.task_id, self.id, PinCheckpoint(pinned=pinned))
        self.info = await self._http.send(call)

    async def delete(self) -> None:
        """Deletes it for good. Raises Conflict while it is pinned or the task may need it."""
        await self._http.send(calls.delete_checkpoint(self.task_id, self.id))

    async def download(self, path: str | os.PathLike[str]) -> Path:
        """Writes the bytes to `path`, or into the folder `path`, and returns where they are.

        What appears there has the checkpoint's sha256. A broken download goes on from its
        `.part` file, now or in a later call. Raises CorruptDownload where the hash differs.
        """
        target = file_at(path, f"{self.task_id}-step-{self.step}.pt")
        return await AsyncDownload(
            self._http,
            lambda start: calls.checkpoint_data(self.info, start),
            self.size,
            self.sha256,
            f"Checkpoint {self.id}",
        ).to(target)

    async def state_dict(self, map_location: Any = "cpu") -> dict[str, Any]:
        """The model's weights, for `model.load_state_dict`.

        Loaded with `weights_only=True`, onto `map_location`. Raises AIFarmError without PyTorch.
        """
        with TemporaryDirectory(prefix="aifarm-") as folder:
            path = await self.download(Path(folder))
            return await aside(model_weights, path, map_location)
