"""Metric points stored durably through the socket: 50 tasks that report each 100 ms."""

import asyncio
import time
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from aifarm.packages import pack_source
from aifarm.wire.agent import (
    PROTOCOL,
    Ack,
    Cpu,
    Hello,
    Memory,
    Resources,
    TaskAssignment,
    TaskProgress,
    TaskState,
)
from aifarm.wire.codec import decode_server, encode
from bench.farm import Server, server
from bench.stats import Figure, percentile
from integration.running import MODEL

TASKS, INTERVAL, SECONDS = 50, 0.1, 10.0
GOAL_RATE, GOAL_LAG = 100_000, 0.050


class Reporter:
    """One agent with one task, which sends a batch of points each interval."""

    interval = INTERVAL
    """Seconds."""

    def __init__(self, farm: Server, number: int, points: int) -> None:
        self._farm = farm
        self._name = f"ws{number}"
        self._points = points
        self.stored = 0
        self._expected: float = float("inf")
        self._all_stored = asyncio.Event()

    async def run(self, until: float) -> None:
        headers = {"Client-ID": self._name, "Authorization": f"Bearer {self._farm.agent}"}
        url = f"ws://127.0.0.1:{self._farm.port}/"
        async with connect(url, additional_headers=headers, compression=None) as socket:
            task_id = await self._begin(socket)
            acks = asyncio.create_task(self._count(socket))
            try:
                await self._send(socket, task_id, until)
            finally:
                acks.cancel()

    async def _send(self, socket: ClientConnection, task_id: str, until: float) -> None:
        """Returns once everything that was sent is stored."""
        seq, step = 1, 0
        while time.perf_counter() < until:
            began = time.perf_counter()
            seq += 1
            message = self._message(step, task_id=task_id, attempt=1, rank=0, seq=seq)
            step += self._points
            await socket.send(encode(message).decode())
            await asyncio.sleep(max(0.0, self.interval - (time.perf_counter() - began)))
        self._expected = step
        if self.stored < step:
            await self._all_stored.wait()

    def _message(self, step: int, **of: Any) -> TaskProgress:
        """The points that follow those of `step` steps."""
        now = time.time()
        points = [(step + i, now, {"loss": 1.0 / (step + i + 1)}) for i in range(self._points)]
        return TaskProgress(progress=50.0, points=points, **of)

    async def _begin(self, socket: ClientConnection) -> str:
        hello = Hello(
            boot_id="b",
            machine_id=self._name,
            agent_version="bench",
            protocol=PROTOCOL,
            resources=Resources(cpu=Cpu(1), ram=Memory(1024)),
        )
        await socket.send(encode(hello).decode())
        while True:
            message = decode_server(await socket.recv())
            if isinstance(message, TaskAssignment):
                task_id = message.data.id
                state = TaskState(task_id=task_id, attempt=1, rank=0, seq=1, state="running")
                await socket.send(encode(state).decode())
                return task_id

    async def _count(self, socket: ClientConnection) -> None:
        async for frame in socket:
            message = decode_server(frame)
            if isinstance(message, Ack):
                self.stored = (message.seq - 1) * self._points
                if self.stored >= self._expected:
                    self._all_stored.set()


async def _measure(farm: Server, points: int) -> tuple[float, float]:
    """(points stored a second, processor seconds of the server a second)."""
    farm.put_package("model", "1", pack_source(MODEL, "model", "1"))
    for _ in range(TASKS):
        farm.post("/api/v2/tasks", {"name": "model", "version": "1"})
    reporters = [Reporter(farm, number, points) for number in range(TASKS)]
    began, used = time.perf_counter(), farm.cpu_seconds()
    await asyncio.gather(*(reporter.run(began + SECONDS) for reporter in reporters))
    seconds = time.perf_counter() - began
    stored = sum(reporter.stored for reporter in reporters)
    return stored / seconds, (farm.cpu_seconds() - used) / seconds


def run() -> list[Figure]:
    figures = []
    for points in (210, 400):
        with server() as farm:
            rate, cpu = asyncio.run(_measure(farm, points))
            lag = percentile(farm.stop(), 99)
        name = f"{TASKS} tasks, {points} points each {INTERVAL * 1e3:.0f} ms"
        first = points == 210
        figures += [
            Figure(
                "ingest",
                f"{name}: stored durably",
                rate,
                "points/s",
                f">= {GOAL_RATE:,}" if first else "",
                rate >= GOAL_RATE if first else None,
                f"the server used {cpu:.2f} of a core",
            ),
            Figure(
                "ingest",
                f"{name}: loop lag p99",
                lag * 1e3,
                "ms",
                f"<= {GOAL_LAG * 1e3:.0f}" if first else "",
                lag <= GOAL_LAG if first else None,
            ),
        ]
    return figures
