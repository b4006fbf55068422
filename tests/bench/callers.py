"""REST with 50 callers at once: reads and creations a second, beside a bare Tornado handler."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from aifarm.packages import pack_source
from bench.control import BODY
from bench.farm import Poster, Server, bare, server
from bench.stats import Figure, percentile
from integration.running import MODEL

CALLERS, REQUESTS = 50, 4_000
Call = Callable[[Poster], Awaitable[object]]


async def _crowd(port: int, token: str, call: Call) -> tuple[float, list[float]]:
    """(calls a second, seconds of each)."""
    seconds: list[float] = []

    async def caller() -> None:
        async with Poster(port, token) as poster:
            for _ in range(REQUESTS // CALLERS):
                began = time.perf_counter()
                await call(poster)
                seconds.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return len(seconds) / (time.perf_counter() - began), seconds


def _figures(farm: Server, limit: int) -> list[Figure]:
    task = farm.post("/api/v2/tasks", {"name": "model", "version": "1"})["id"]
    calls: dict[str, tuple[int, Call]] = {
        "a bare Tornado handler that answers 2 bytes": (limit, lambda p: p.get("/")),
        "GET a task": (farm.port, lambda p: p.get(f"/api/v2/tasks/{task}")),
        "POST a task, durable": (farm.port, lambda p: p.post("/api/v2/tasks", BODY)),
        "GET a page of 100 tasks": (farm.port, lambda p: p.get("/api/v2/tasks?limit=100")),
    }
    found = []
    for name, (port, call) in calls.items():
        rate, seconds = asyncio.run(_crowd(port, farm.admin, call))
        note = f"p99 {percentile(seconds, 99) * 1e3:.0f} ms, {CALLERS} callers at once"
        found.append(Figure("callers", name, rate, "a second", note=note))
    return found


def run() -> list[Figure]:
    with bare() as (port, _), server() as farm:
        farm.put_package("model", "1", pack_source(MODEL, "model", "1"))
        return _figures(farm, port)
