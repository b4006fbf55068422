"""A workstation that does what a test says: it speaks the agents' protocol and trains nothing."""

import hashlib
from typing import Any, Self

from msgspec import UNSET

from aifarm.wire import agent as wire
from aifarm.wire.codec import decode_server, encode
from integration.running import RunningServer

EMPTY = hashlib.sha256().hexdigest()


class ScriptedAgent:
    """One client with 4 cores and 8 GiB, and the latest task that it was given.

    `gpus`: what it says that it has, which nothing here need really have.
    `environments`: what it advertises. `refusal`: what the server had to say of the latest message
    about it.
    """

    def __init__(
        self,
        server: RunningServer,
        name: str = "ws1",
        environments: tuple[wire.Environment, ...] = (),
        gpus: tuple[wire.Gpu, ...] = (wire.Gpu(0, "GPU", wire.Memory(4096)),),
    ) -> None:
        self.name = name
        self.resources = wire.Resources(wire.Cpu(cores=4), wire.Memory(8192), gpus)
        self._environments = environments
        self._server = server
        self._http = server.http(server.token("agent"), **{"Client-ID": name})
        self._connection = server.socket(name)
        self._seq = 0
        self.task: wire.AssignedTask | None = None
        self.refusal: wire.ErrorBody | None = None

    def __enter__(self) -> Self:
        self._socket = self._connection.__enter__()
        self._say(
            wire.Hello(
                boot_id="boot",
                machine_id=f"machine-{self.name}",
                agent_version="0",
                protocol=wire.PROTOCOL,
                resources=self.resources,
                environments=self._environments,
            )
        )
        self.hear(wire.Welcome)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.__exit__(None, None, None)

    def hear(self, kind: Any) -> Any:
        """The next message of this kind; others are passed over."""
        while True:
            message = decode_server(self._socket.recv(timeout=20))
            if isinstance(message, kind):
                return message

    def take(self) -> wire.FarmAssignment:
        """Waits for a task, and takes it."""
        self.task = self.hear(wire.TaskAssignment).data
        assert self.task is not None
        assert self.task.farm is not UNSET
        self._seq = 0
        return self.task.farm

    def look(self, **readable: bool) -> tuple[str, ...]:
        """Waits to be asked for paths, and answers of each by its last part."""
        asked: tuple[str, ...] = self.hear(wire.Look).paths
        self._say(wire.Readable(paths={path: readable[path.rpartition("/")[2]] for path in asked}))
        return asked

    def beat(self, **info: Any) -> None:
        """A heartbeat. Nothing answers it."""
        self._say(wire.Heartbeat(system_info=wire.SystemInfo(**info)))

    def lend(self, lends: bool) -> None:
        """The owner takes the client back, or lends it again. Nothing answers it."""
        self._say(wire.Lending(lends=lends))

    def running(self, **more: Any) -> None:
        self._about(wire.TaskState, **{"state": "running", "step": 0, **more})

    def paused(self) -> None:
        self._about(wire.TaskState, state="paused", step=0)

    def progress(self, percent: float, step: int, **metrics: float) -> None:
        point = (step, 1_700_000_000.0 + step, dict(metrics))
        self._about(wire.TaskProgress, progress=percent, metrics=dict(metrics), points=[point])

    def points(self, percent: float, *points: tuple[int, float, dict[str, float]]) -> None:
        """Many at once: (step, seconds since the epoch, metrics)."""
        latest = points[-1][2]
        self._about(wire.TaskProgress, progress=percent, metrics=latest, points=list(points))

    def log(self, *lines: str, unfinished: str = "") -> None:
        self._about(wire.TaskLog, lines=list(lines), open=unfinished)

    def checkpoint(self, data: bytes, step: int, **more: Any) -> None:
        """Uploads `data` and commits it as a checkpoint."""
        upload_id, sha256 = self.upload(data)
        self._about(
            wire.TaskCheckpoint,
            upload_id=upload_id,
            step=step,
            size=len(data),
            sha256=sha256,
            **more,
        )

    def outputs(self, files: dict[str, bytes], **more: Any) -> None:
        """Uploads files, and says that the task keeps them from now on."""
        told = []
        for path, data in files.items():
            upload_id, sha256 = self.upload(data, "output") if data else (None, EMPTY)
            told.append(wire.OutputFile(path, len(data), sha256, upload_id))
        self._about(wire.TaskOutputs, files=told, **more)

    def say_outputs(self, *files: wire.OutputFile, **more: Any) -> None:
        """Says it, whatever is stored."""
        self._about(wire.TaskOutputs, files=list(files), **more)

    def upload(self, data: bytes, purpose: str = "checkpoint") -> tuple[str, str]:
        """The upload's id, and the sha256 of the bytes."""
        sha256 = hashlib.sha256(data).hexdigest()
        announced = {**self._ids(), "size": len(data), "sha256": sha256, "purpose": purpose}
        upload = self._http.post("/api/v2/uploads", json=announced).json()
        for number in range(0, -(-len(data) // upload["part_size"])):
            part = data[number * upload["part_size"] :][: upload["part_size"]]
            stored = self._http.put(
                f"/api/v2/uploads/{upload['id']}/parts/{number}",
                content=part,
                headers={"X-Content-SHA256": hashlib.sha256(part).hexdigest()},
            )
            assert stored.status_code == 204, stored.text
        return upload["id"], sha256

    def note(self, kind: str, message: str) -> None:
        self._about(wire.TaskNote, kind=kind, message=message)

    def measured(self, **costs: float) -> None:
        """As rank 0 of a gang: what a step costs."""
        self._about(wire.TaskMeasured, **costs)

    def end(self, status: str = "completed", **more: Any) -> None:
        """Reports the rank's end; returns when that is durable."""
        self._about(wire.TaskResult, status=status, **more)

    def _ids(self) -> dict[str, Any]:
        assert self.task is not None
        farm = self.task.farm
        assert farm is not UNSET
        return {"task_id": self.task.id, "attempt": farm.attempt, "rank": farm.rank}

    def _about(self, kind: type[Any], /, **fields: Any) -> None:
        """Says it, and returns when it is durable."""
        self._tell(kind, **fields)
        self.refusal = None
        while True:
            message = self.hear(wire.Ack | wire.ErrorMessage)
            if isinstance(message, wire.ErrorMessage):
                self.refusal = message.error
            elif message.seq >= self._seq:
                return

    def _tell(self, kind: type[Any], /, **fields: Any) -> None:
        self._seq += 1
        self._say(kind(**self._ids(), seq=self._seq, **fields))

    def _say(self, message: Any) -> None:
        self._socket.send(encode(message).decode())
