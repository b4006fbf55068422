"""A request body on its way to disk, without blocking the event loop."""

import asyncio
import os
import tempfile
from concurrent.futures import Executor
from pathlib import Path

from aifarm.app.errors import Unavailable


class Spool:
    """A temporary file in `folder`, which its owner removes. Raises Unavailable on a full disk."""

    def __init__(self, folder: Path, executor: Executor) -> None:
        self._executor = executor
        handle, name = tempfile.mkstemp(prefix="body-", dir=folder)
        self._file = os.fdopen(handle, "wb")
        self.path = Path(name)

    async def write(self, chunk: bytes) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._executor, self._file.write, chunk)
        except OSError as error:
            raise Unavailable(f"The farm could not take the file: {error.strerror}.") from None

    async def close(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, self._file.close)

    def remove(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)
