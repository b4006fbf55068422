# Written by `make sdk` from aio/output.py; changes here are lost.
"""A file that a task keeps."""

import os
from datetime import datetime
from pathlib import Path

from aifarm.sdk import calls
from aifarm.sdk.download import Download, file_at, file_under
from aifarm.sdk.http import Http
from aifarm.wire.rest import OutputFull


class Output:
    """A file as the farm has it now: `path` under the task's working folder, `size` in bytes,
    `attempt` that wrote it, `created_at` when the farm got it."""

    def __init__(self, http: Http, task_id: str, info: OutputFull) -> None:
        self._http = http
        self.task_id = task_id
        self.info = info

    def __repr__(self) -> str:
        return f"<Output {self.path} of task {self.task_id}, {self.size} bytes>"

    @property
    def path(self) -> str:
        return self.info.path

    @property
    def size(self) -> int:
        return self.info.size

    @property
    def sha256(self) -> str:
        return self.info.sha256

    @property
    def attempt(self) -> int:
        return self.info.attempt

    @property
    def created_at(self) -> datetime:
        return self.info.created_at

    def download(self, path: str | os.PathLike[str] = ".") -> Path:
        """Writes the bytes to `path`, or into the folder `path` under the file's own name, and
        returns where they are.

        What appears there has the output's sha256; a broken download goes on from its `.part`
        file. Raises CorruptDownload where the hash differs: the task may have replaced the file
        since it was listed.
        """
        return self._to(file_at(path, self.path.rpartition("/")[2]))

    def download_under(self, folder: str | os.PathLike[str]) -> Path:
        """As `download`, at the output's own path under `folder`; folders are made as needed."""
        return self._to(file_under(folder, self.path))

    def _to(self, target: Path) -> Path:
        return Download(
            self._http,
            lambda start: calls.output_data(self.task_id, self.info, start),
            self.size,
            self.sha256,
            f"Output {self.path}",
        ).to(target)
