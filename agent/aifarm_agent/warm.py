"""A warm process, seen from the agent: found again by its socket, started where there is none."""

import asyncio
import contextlib
import itertools
import json
import logging
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from aifarm_agent.processes import kill_session, look

logger = logging.getLogger(__name__)

PATIENCE = 120.0
"""Seconds for the answer to a request; a cold disk takes its time to import torch."""
LOOK_AGAIN = 0.05
END_SECONDS = 5.0


class WarmError(Exception):
    """There is no worker to be had; the message is one sentence."""


class Interpreter(NamedTuple):
    """A Python and the environment variables that it is to have."""

    python: str
    env: dict[str, str]


class WarmProcess:
    """One connection to it. `lost` is called when it ended, and its workers with it.

    `interpreter`: what it is started with; None where it is only to be found. After `orphan_limit`
    seconds without an agent it has its workers checkpoint and stop.
    """

    def __init__(
        self,
        folder: Path,
        path: Path,
        interpreter: Interpreter | None,
        lost: Callable[[], None],
        orphan_limit: float,
    ) -> None:
        self._log = folder / f"{path.name}.log"
        self._path = path
        self._interpreter = interpreter
        self._lost = lost
        self._orphan_limit = orphan_limit
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def connected(self) -> bool:
        return self._writer is not None

    async def find(self) -> bool:
        """Connects to the one that an earlier agent left, if it lives."""
        try:
            reader, self._writer = await asyncio.open_unix_connection(self._path, limit=1 << 24)
        except OSError:
            return False
        self._reading = asyncio.create_task(self._read(reader))
        return True

    async def ensure(self) -> None:
        """Connects, starting one if need be. Raises WarmError."""
        async with self._starting:
            if self.connected or await self.find():
                return
            try:
                self._start()
            except OSError as error:
                raise WarmError(f"The warm process cannot be started: {error}.") from None
            while not await self.find():
                if self._process is not None and self._process.poll() is not None:
                    said = self._log.read_text(errors="replace").strip().splitlines()
                    reason = said[-1][:500] if said else "it says no reason"
                    raise WarmError(f"The warm process did not start: {reason}")
                await asyncio.sleep(LOOK_AGAIN)

    def _start(self) -> None:
        if self._interpreter is None:
            raise WarmError("Its Python is not among this agent's environments any more.")
        with open(self._log, "wb") as output:
            self._process = subprocess.Popen(
                [
                    *(self._interpreter.python, "-m", "aifarm.train.zygote"),
                    *("--socket", str(self._path)),
                    *("--orphan-limit", str(self._orphan_limit)),
                ],
                cwd=self._log.parent,
                env=self._interpreter.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    async def ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Its answer. Raises WarmError, with its words where it refuses."""
        await self.ensure()
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        request = {"id": number, "op": operation, **arguments}
        try:
            async with asyncio.timeout(PATIENCE):
                if self._writer is not None:
                    self._writer.write(json.dumps(request).encode() + b"\n")
                    await self._writer.drain()
                got: dict[str, Any] = await answer
        except TimeoutError:
            raise WarmError(f"The warm process did not answer within {PATIENCE:.0f} s.") from None
        except OSError as error:
            raise WarmError(f"The warm process has ended: {error}.") from None
        finally:
            self._answers.pop(number, None)
        if got["ok"]:
            return got
        raise WarmError(_sentence(got["error"]))

    def hang_up(self) -> None:
        """Leaves it to itself: with neither connection nor worker it ends. The next `ask` finds it
        again, or starts another one."""
        if self._reading is not None:
            self._reading.cancel()
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._process is not None:
            self._process.poll()  # reaps it once it has ended

    async def close(self, end: bool) -> None:
        """Hangs up; with `end` once it has ended, and with it any worker it may still have."""
        self._lost = lambda: None
        if end:
            peer = look(_peer(self._writer)) if self._writer else None
            with contextlib.suppress(WarmError, TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    await self._shut_down()
            if peer is not None and peer.alive:
                kill_session(peer, signal.SIGKILL)
            if self._process is not None:
                self._process.kill()  # one that has not begun to listen yet
                await asyncio.to_thread(self._process.wait)
            self._path.unlink(missing_ok=True)
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()

    async def _shut_down(self) -> None:
        if self._writer is not None and self._reading is not None:
            await self.ask("shutdown")
            await asyncio.shield(self._reading)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := await reader.readline():
                answer = json.loads(line)
                future = self._answers.get(answer.get("id"))
                if future is not None and not future.done():
                    future.set_result(answer)
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for future in self._answers.values():
            if not future.done():
                future.set_exception(ConnectionResetError("it hung up"))
        if self._process is not None:
            self._process.poll()  # reaps it
        self._lost()


def _peer(writer: asyncio.StreamWriter) -> int:
    """The pid of the process at the other end."""
    credentials = writer.get_extra_info("socket").getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
    )
    return int(struct.unpack("3i", credentials)[0])


def _sentence(text: str) -> str:
    text = text.strip()
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."
