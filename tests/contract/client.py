"""A workstation written from the page of the API alone: plain websockets, and nothing of ours.

It knows the documented messages and fields and no others, and notes everything that comes which
the page does not have.
"""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

PAGE = {
    "task": {"type", "data", "timestamp"},
    "control": {"type", "action", "task_id", "timestamp"},
    "task_result_ack": {"type", "task_id", "received", "timestamp"},
}
"""The server's messages, and their fields."""

DATA = {"id", "type", "config", "requirements"}
REQUIREMENTS = {"min_gpu_memory", "min_cpu_cores", "min_ram"}


class Stopped(Exception):
    """A control said so."""


class Workstation:
    """One client. It "trains" an epoch each time that the test gives it a permit."""

    def __init__(self, url: str, client_id: str, token: str) -> None:
        self._url = url
        self.client_id = client_id
        self._headers = {"Client-ID": client_id, "Authorization": f"Bearer {token}"}
        self._socket: ClientConnection
        self._tasks: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._acks: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._going = asyncio.Event()
        self._stopped = asyncio.Event()
        self.permits = asyncio.Semaphore(0)
        self.told: asyncio.Queue[str] = asyncio.Queue()
        self.ran: list[dict[str, Any]] = []
        self.unknown: list[dict[str, Any]] = []

    async def run(self, tasks: int) -> None:
        """Takes so many tasks to their end, one after the other."""
        async with connect(self._url, additional_headers=self._headers) as self._socket:
            reading = asyncio.create_task(self._read())
            for _ in range(tasks):
                await self._one_task()
            reading.cancel()

    async def _one_task(self) -> None:
        await self._say("task_request")
        task = await self._tasks.get()
        self.ran.append(task)
        self._going.set()
        self._stopped.clear()
        self.told.put_nowait("task")
        status = "completed"
        try:
            await self._train(task["id"], task["config"].get("epochs", 1))
        except Stopped:
            status = "stopped"
        await self._say(
            "task_result",
            task_id=task["id"],
            status=status,
            metrics={"final_loss": 0.0018, "training_time": 3600},
            checkpoint_path="/path/to/model.pt",
        )
        ack = await self._acks.get()
        assert (ack["task_id"], ack["received"]) == (task["id"], True)

    async def _train(self, task_id: str, epochs: int) -> None:
        for epoch in range(1, epochs + 1):
            await self.permits.acquire()
            await self._obey()
            metrics = {"loss": 1.0 / epoch, "learning_rate": 0.001}
            progress = 100.0 * epoch / epochs
            await self._say("task_progress", task_id=task_id, progress=progress, metrics=metrics)
            usage = {"cpu_usage": 45.2, "ram_usage": 60.5, "gpu_usage": 80.0}
            await self._say("heartbeat", system_info=usage)

    async def _obey(self) -> None:
        """Returns once there is no pause. Raises Stopped."""
        waits = [asyncio.create_task(event.wait()) for event in (self._going, self._stopped)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if self._stopped.is_set():
            raise Stopped

    async def _read(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            kind = message.get("type")
            if set(message) != PAGE.get(kind):
                self.unknown.append(message)
            match kind:
                case "task":
                    task = message["data"]
                    assert set(task) == DATA
                    assert set(task["requirements"]) == REQUIREMENTS
                    self._tasks.put_nowait(task)
                case "task_result_ack":
                    self._acks.put_nowait(message)
                case "control":
                    self._control(message["action"])

    def _control(self, action: str) -> None:
        if action == "pause":
            self._going.clear()
        elif action == "resume":
            self._going.set()
        elif action == "stop":
            self._stopped.set()
        self.told.put_nowait(action)

    async def _say(self, kind: str, **fields: Any) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        message = {"type": kind, "client_id": self.client_id, **fields, "timestamp": now}
        await self._socket.send(json.dumps(message))
