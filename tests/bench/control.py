"""The control plane alone: submit over REST → completed seen by the submitter, durable.

Real server, real agents over real sockets; their workers take no time (see instant.py).
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from aifarm.packages import pack_source
from bench.farm import WORKSPACE, Poster, Server, server
from bench.stats import Figure, percentile
from integration.running import MODEL

AGENTS, ALONE, CROWD, IN_FLIGHT = 4, 300, 4_000, 64
GOAL_SECONDS, GOAL_RATE = 0.015, 600

BODY = json.dumps(
    {"name": "model", "version": "1", "requirements": {"min_cpu_cores": 0, "min_ram": 0}}
).encode()


class _Task(msgspec.Struct):
    id: str
    status: str


class _News(msgspec.Struct):
    """What is needed of a message of the live feed; the reader is not what is measured."""

    type: str
    task: _Task | None = None


_news = msgspec.json.Decoder(list[_News])
_created = msgspec.json.Decoder(_Task)


class Submitter:
    """Submits over kept-alive connections and sees the ends in the live feed."""

    def __init__(self, farm: Server) -> None:
        self._farm = farm
        self._ends: dict[str, asyncio.Event] = {}

    async def follow(self, socket: ClientConnection) -> None:
        async for frame in socket:
            for news in _news.decode(frame):
                if news.task is not None and news.task.status == "completed":
                    self._ends.setdefault(news.task.id, asyncio.Event()).set()

    async def one(self, poster: Poster) -> float:
        """Seconds from the request to the end seen."""
        began = time.perf_counter()
        task_id = _created.decode(await poster.post("/api/v2/tasks", BODY)).id
        await self._ends.setdefault(task_id, asyncio.Event()).wait()
        del self._ends[task_id]
        return time.perf_counter() - began

    async def several(self, count: int) -> list[float]:
        async with Poster(self._farm.port, self._farm.admin) as poster:
            return [await self.one(poster) for _ in range(count)]


async def _measure(farm: Server) -> tuple[list[float], float]:
    """(seconds of each task submitted alone, tasks a second with many in flight)."""
    submitter = Submitter(farm)
    url = f"ws://127.0.0.1:{farm.port}/api/v2/live"
    headers = {"Authorization": f"Bearer {farm.admin}"}
    async with connect(url, additional_headers=headers, compression=None) as socket:
        await socket.send('{"type": "subscribe", "topics": ["farm"]}')
        await socket.recv()
        following = asyncio.create_task(submitter.follow(socket))
        await submitter.several(20)
        alone = await submitter.several(ALONE)
        began = time.perf_counter()
        share = CROWD // IN_FLIGHT
        await asyncio.gather(*(submitter.several(share) for _ in range(IN_FLIGHT)))
        rate = share * IN_FLIGHT / (time.perf_counter() - began)
        following.cancel()
    return alone, rate


@contextmanager
def _agents(farm: Server) -> Iterator[None]:
    token = farm.data_dir / "agent-token"
    token.write_text(farm.agent)
    script = str(Path(__file__).with_name("instant.py"))
    url = f"ws://127.0.0.1:{farm.port}"
    folders = [farm.data_dir.parent / f"instant-{number}" for number in range(AGENTS)]
    processes = [
        subprocess.Popen([sys.executable, script, url, str(token), str(folder)])
        for folder in folders
    ]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.wait(timeout=30)


def _fsync() -> float:
    """Seconds of one durable write of 4 KiB on the same disk, median of 200."""
    path = WORKSPACE / "fsync"
    seconds = []
    with path.open("wb", buffering=0) as file:
        for _ in range(200):
            began = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - began)
    path.unlink()
    return statistics.median(seconds)


def run() -> list[Figure]:
    figures = [Figure("control", "raw write + fdatasync of 4 KiB", _fsync() * 1e3, "ms")]
    for delay in (0.0, 0.005):
        with server(delay) as farm, _agents(farm):
            farm.put_package("model", "1", pack_source(MODEL, "model", "1"))
            alone, rate = asyncio.run(_measure(farm))
        what = f", {delay * 1e3:.0f} ms added to each commit" if delay else ""
        median = statistics.median(alone)
        figures += [
            Figure(
                "control",
                f"submit → completed seen{what}",
                median * 1e3,
                "ms, median",
                "" if delay else f"<= {GOAL_SECONDS * 1e3:.0f}",
                None if delay else median <= GOAL_SECONDS,
                f"p90 {percentile(alone, 90) * 1e3:.1f} ms (Dask, not durable: 10.6)",
            ),
            Figure(
                "control",
                f"tasks, {IN_FLIGHT} in flight{what}",
                rate,
                "tasks/s",
                "" if delay else f">= {GOAL_RATE}",
                None if delay else rate >= GOAL_RATE,
                "(Dask, not durable: 664)",
            ),
        ]
    return figures
