"""A real agent whose workers take no time: process, outbox, session and transfers are as ever, and
only the supervisor is replaced. Run as a process: instant.py WS_URL TOKEN_FILE WORK_DIR."""

import asyncio
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aifarm_agent import runtime, workdir
from aifarm_agent.events import Finished, Identity, RankKey, Restored, Started
from aifarm_agent.gpus import Gpus
from aifarm_agent.plan import Settings


class InstantSupervisor:
    """Every worker has finished as soon as it is launched."""

    busy = False

    def __init__(self, workdir: Any, checkpoints: Any, kept: Any, desk: Any, *_: object) -> None:
        self._desk = desk

    def launch(self, key: RankKey, *_: object) -> None:
        done = [(Started({}), None), (Finished({"final_loss": 0.0}), None)]
        asyncio.get_running_loop().call_soon(self._desk.report, key, done)

    async def restore(self) -> list[Restored]:
        return []

    async def close(self, *_: object) -> None: ...

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Nothing is to be prepared, steered, killed or forgotten."""

        async def nothing_later() -> None: ...

        later = name == "end_workers"
        return (lambda *_: nothing_later()) if later else (lambda *_: None)


async def run(server: runtime.Server, folder: Path) -> None:
    name = folder.name
    identity = Identity(name, name, workdir.boot_id(), socket.gethostname(), "bench", {})
    place = workdir.WorkDir(folder)
    agent = runtime.Agent(place, identity, server, Gpus("none"), Settings())
    await agent.run(asyncio.Queue())


def main() -> None:
    url, token_file, folder = sys.argv[1:]
    runtime.Supervisor = InstantSupervisor
    server = runtime.Server([url], Path(token_file).read_text().strip())
    asyncio.run(run(server, Path(folder)))


main()
