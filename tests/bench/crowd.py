"""2,000 connected agents that send a heartbeat each 10 s: what they cost the server."""

import asyncio
import resource
import time
from collections.abc import Callable

import psutil
from websockets.asyncio.client import ClientConnection, connect

from aifarm.wire.agent import (
    PROTOCOL,
    Cpu,
    Heartbeat,
    Hello,
    Memory,
    Resources,
    SystemInfo,
)
from aifarm.wire.codec import encode
from bench.farm import Server, bare, server
from bench.stats import Figure

AGENTS, HEARTBEAT, SECONDS = 2_000, 10.0, 30.0
RESOURCES = Resources(cpu=Cpu(8, 12.5), ram=Memory(65_536, 8_192))
BEAT = encode(Heartbeat(system_info=SystemInfo(resources=RESOURCES))).decode()


async def _agent(url: str, token: str, number: int, gate: asyncio.Semaphore) -> ClientConnection:
    name = f"ws{number}"
    headers = {"Client-ID": name, "Authorization": f"Bearer {token}"}
    async with gate:
        socket = await connect(
            url, additional_headers=headers, compression=None, ping_interval=None, open_timeout=60
        )
        hello = Hello(
            boot_id="b",
            machine_id=name,
            agent_version="bench",
            protocol=PROTOCOL,
            resources=RESOURCES,
        )
        await socket.send(encode(hello).decode())
        return socket


async def _beat(sockets: list[ClientConnection], seconds: float) -> None:
    """Each of them once in HEARTBEAT seconds, evenly spread."""
    began = time.perf_counter()
    for number in range(int(len(sockets) * seconds / HEARTBEAT)):
        await sockets[number % len(sockets)].send(BEAT)
        late = time.perf_counter() - began
        await asyncio.sleep(max(0.0, (number + 1) * HEARTBEAT / len(sockets) - late))


async def _measure(url: str, token: str, pid: int, cpu: Callable[[], float]) -> tuple[float, float]:
    """(KiB of the server per connection, processor seconds a second while they beat)."""
    before = psutil.Process(pid).memory_info().rss
    gate = asyncio.Semaphore(50)
    sockets = await asyncio.gather(*(_agent(url, token, n, gate) for n in range(AGENTS)))
    await _beat(sockets, HEARTBEAT)  # the first round settles what connecting left behind
    size = (psutil.Process(pid).memory_info().rss - before) / AGENTS / 1024
    used, began = cpu(), time.perf_counter()
    await _beat(sockets, SECONDS)
    share = (cpu() - used) / (time.perf_counter() - began)
    await asyncio.gather(*(socket.close() for socket in sockets))
    return size, share


def _farm(farm: Server) -> tuple[float, float]:
    url = f"ws://127.0.0.1:{farm.port}/"
    return asyncio.run(_measure(url, farm.agent, farm.process.pid, farm.cpu_seconds))


def _bare() -> tuple[float, float]:
    with bare() as (port, process):
        url = f"ws://127.0.0.1:{port}/socket"
        return asyncio.run(_measure(url, "", process.pid, lambda: sum(process.cpu_times()[:2])))


def run() -> list[Figure]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # the server inherits it
    try:
        limit = _bare()
        with server() as farm:
            ours = _farm(farm)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    crowd = f"{AGENTS:,} agents, a heartbeat each {HEARTBEAT:.0f} s"
    return [
        Figure(
            "crowd",
            f"{crowd}: the server's share of a core",
            ours[1] * 100,
            "%",
            note=f"a bare Tornado socket: {limit[1] * 100:.1f} %",
        ),
        Figure(
            "crowd",
            f"{crowd}: memory of each",
            ours[0],
            "KiB",
            note=f"a bare Tornado socket: {limit[0]:.1f} KiB",
        ),
    ]
