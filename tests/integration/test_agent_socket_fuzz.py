"""Frames, good and broken, over the agents' socket: the server neither falls nor grows.

`SEED=17 pytest -m slow -k fuzz` sends the same frames again.
"""

import asyncio
import itertools
import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from contract.client import Workstation
from integration.running import RunningServer

FRAMES = 120_000
CONNECTIONS = 8
BATCH = 50
"""Frames that go out before the server's answers are awaited."""

MARK = "this far"
GROWTH = 64 << 20
"""Bytes that the server may be larger after all frames than after the first tenth of them."""

TASK = {"name": "m", "url": "http://elsewhere/models/m/1", "version": "1"}

ODD: list[Any] = [
    *(None, True, -1, 0, 1.5, 2**53, 2**70, 1e308, "", "x", "\0", "\ud800", "é" * 100, "x" * 5_000),
    *([], {}, [[]], {"a": {"b": []}}, "2024-11-04T12:00:00Z", "running", "completed", "NaN"),
]


class Frames:
    """An endless line of frames from one seed, about these tasks."""

    def __init__(self, chance: random.Random, tasks: list[str]) -> None:
        self._chance = chance
        self._tasks = [*tasks, "unknown", "a@b", ""]

    def hello(self) -> str:
        labels = {self._word(): self._word() for _ in range(3)}
        return json.dumps(
            {
                "type": "hello",
                "boot_id": "boot",
                "machine_id": "machine",
                "agent_version": "0",
                "protocol": 1,
                "resources": {"cpu": {"cores": 4}, "ram": {"total": 8192}},
                "labels": labels,
                "tasks": [self._about(state="running", last_seq=1)] if self._rarely() else [],
            }
        )

    def __iter__(self) -> Iterator[str | bytes]:
        while True:
            frame = json.dumps(self._message())
            match self._chance.randrange(10):
                case 0 | 1 | 2:
                    frame = self._torn(frame)
                case 3:
                    frame = self._word() * self._chance.randrange(50)
                case 4 if self._rarely():
                    frame = '{"type": "heartbeat", "x": ' + "[" * self._chance.randrange(100_000)
                case 5 if self._rarely():
                    yield frame.encode()
                    continue
            yield frame

    def _message(self) -> dict[str, Any]:
        message = self._chance.choice(
            [
                lambda: {"type": "task_request"},
                lambda: {"type": "heartbeat", "system_info": {"cpu_usage": 5.0, "ram_usage": 7}},
                lambda: {"type": "heartbeat", "system_info": {"resources": self._resources()}},
                lambda: self._about("task_progress", progress=50, metrics={self._word(): 0.5}),
                lambda: self._about("task_progress", progress=50, points=self._points()),
                lambda: self._about("task_result", status="failed", message=self._word()),
                lambda: self._about("task_log", lines=[self._word() for _ in range(5)]),
                lambda: self._about("task_state", state="paused", provenance={"x": [self._word()]}),
                lambda: self._about(
                    "task_checkpoint", upload_id="u", step=1, size=1, sha256="0" * 64
                ),
                lambda: self._about("gang_endpoint", address="127.0.0.1", port=1),
                lambda: self._about(
                    "task_measured", compute=0.1, gradients=1, bandwidth=9, latency=0
                ),
                lambda: {"type": "lending", "lends": self._rarely()},
                lambda: json.loads(self.hello()),
            ]
        )()
        while self._chance.random() < 0.3:
            place = self._chance.choice([*message, self._word()])
            message[place] = self._chance.choice(ODD)
        return {"type": message.pop("type", None), "data": message} if self._rarely() else message

    def _about(self, kind: str = "", **fields: Any) -> dict[str, Any]:
        numbers = {name: self._chance.randrange(4) for name in ("attempt", "rank", "seq")}
        known = {} if self._rarely() else numbers
        named = {"type": kind} if kind else {}
        return {**named, "task_id": self._chance.choice(self._tasks), **known, **fields}

    def _points(self) -> list[Any]:
        return [[step, 1.7e9 + step, {"loss": self._chance.random()}] for step in range(20)]

    def _resources(self) -> dict[str, Any]:
        return {"cpu": {"cores": self._chance.randrange(9)}, "ram": {"total": 4096}, "gpu": []}

    def _torn(self, frame: str) -> str:
        start = self._chance.randrange(len(frame))
        stop = self._chance.randrange(start, len(frame))
        patch = self._chance.choice(["", "{", '"', "\0", "é", "[" * 9])
        return frame[:start] + patch + frame[stop:]

    def _word(self) -> str:
        return self._chance.choice(["loss", "accuracy", "a", "\n", '"', "ü", "x" * 300, "type"])

    def _rarely(self) -> bool:
        return self._chance.random() < 0.05


RAW = [b"\xf1\x80\0\0\0\0", b"\x83\x80\0\0\0\0", b"\x81\xff" + b"\x7f" * 8, b"\x81\x81\0\0\0\0\xff"]
"""Frames that no WebSocket has."""


class Fuzzer:
    """One client that sends frames, on a new connection wherever the server has ended one.

    `heard` counts what the server says to them, by type and by code.
    """

    def __init__(self, server: RunningServer, name: str, token: str) -> None:
        self._url = f"ws://127.0.0.1:{server.port}/"
        self._headers = {"Client-ID": name, "Authorization": f"Bearer {token}"}
        self._marked = asyncio.Event()
        self.heard: Counter[str] = Counter()

    async def run(self, frames: Frames, chance: random.Random, count: int) -> None:
        lines = itertools.islice(frames, count)
        while (first := next(lines, None)) is not None:
            self.heard["connections"] += 1
            async with connect(
                self._url, additional_headers=self._headers, compression=None, ping_interval=None
            ) as connection:
                reading = asyncio.create_task(self._read(connection))
                opening = [frames.hello()] if chance.random() < 0.5 else []
                with suppress(ConnectionClosed):
                    await self._send(connection, [*opening, first], reading)
                    while not reading.done() and (batch := list(itertools.islice(lines, BATCH))):
                        await self._send(connection, batch, reading)
                        if chance.random() < 0.1 and not reading.done():
                            connection.transport.write(chance.choice(RAW))
                reading.cancel()

    async def _send(
        self, connection: ClientConnection, frames: list[str | bytes], reading: asyncio.Task[None]
    ) -> None:
        """Returns once the server has met all of them. Raises ConnectionClosed."""
        self._marked.clear()
        for frame in [*frames, json.dumps({"type": MARK})]:
            await connection.send(frame)
        marked = asyncio.create_task(self._marked.wait())
        await asyncio.wait([marked, reading], return_when=asyncio.FIRST_COMPLETED)
        marked.cancel()

    async def _read(self, connection: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            async for text in connection:
                message = json.loads(text)
                error = message.get("error", {"code": "", "message": ""})
                self.heard[message["type"]] += 1
                self.heard[error["code"]] += 1
                if MARK in error["message"]:
                    self._marked.set()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_fuzzed_server_neither_falls_nor_grows(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", 1))
    log = tmp_path / "log"
    with RunningServer(tmp_path / "farm", log=log, rate_limit=1_000_000) as server:
        headers = {"Authorization": f"Bearer {server.token('researcher', 'ada')}"}
        assert server.process is not None
        process = psutil.Process(server.process.pid)
        async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60) as http:
            ids = [(await http.post("/api/tasks", json=TASK)).json()["id"] for _ in range(20)]

            async def all_connections(part: int, count: int) -> int:
                fuzzers = []
                async with asyncio.TaskGroup() as group:
                    for number in range(CONNECTIONS):
                        chance = random.Random(f"{seed} {part} {number}")
                        fuzzer = Fuzzer(server, f"ws{number}", server.token("agent"))
                        group.create_task(fuzzer.run(Frames(chance, ids), chance, count))
                        fuzzers.append(fuzzer)
                heard = sum((fuzzer.heard for fuzzer in fuzzers), Counter[str]())
                print(f"seed {seed}:", dict(heard))
                for kind in ("INVALID_REQUEST", "NOT_FOUND", "ack", "welcome", "task"):
                    assert heard[kind], f"the frames never led to {kind}"
                return int(process.memory_info().rss)

            each = FRAMES // CONNECTIONS
            before = await all_connections(0, each // 10)
            after = await all_connections(1, each - each // 10)
            print(f"{before >> 20} MiB, then {after >> 20} MiB")
            assert "Traceback" not in log.read_text()
            assert after - before < GROWTH

            for task_id in ids:
                await http.delete(f"/api/tasks/{task_id}")
            created = (await http.post("/api/tasks", json={**TASK, "epochs": 3})).json()["id"]
            client = Workstation(
                f"ws://127.0.0.1:{server.port}", "fresh", server.token("agent", "fresh")
            )
            for _ in range(3):
                client.permits.release()
            async with asyncio.timeout(60):
                await client.run(tasks=1)
            assert client.ran[0]["id"] == created
            assert (await http.get(f"/api/tasks/{created}")).json()["status"] == "completed"
    assert "Traceback" not in log.read_text()
