"""A server process to measure, and plain clients that cost little beside it."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from integration.running import free_port

WORKSPACE = Path("build")
"""On the disk that holds the project: a farm's data would lie on a real one, not in memory."""
WORKSPACE.mkdir(exist_ok=True)


class Server:
    """`lags`: seconds by which the event loop was late, once the server has ended."""

    def __init__(self, folder: Path, commit_delay: float = 0.0) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.data_dir = folder / "farm"
        self._lag_file = folder / "lags.json"
        script = str(Path(__file__).with_name("lagging.py"))
        arguments = (str(self.port), str(self.data_dir), str(commit_delay), str(self._lag_file))
        self.process = subprocess.Popen([sys.executable, script, *arguments])
        with httpx.Client() as client:
            while True:
                try:
                    client.get(f"{self.url}/api/health").raise_for_status()
                    break
                except httpx.HTTPError:
                    if self.process.poll() is not None:
                        raise RuntimeError("the server did not start") from None
                    time.sleep(0.05)
        self.admin = (self.data_dir / "admin-token").read_text().strip()
        self.agent = self.post("/api/v2/tokens", {"role": "agent", "name": "agents"})["token"]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        headers = {"Authorization": f"Bearer {self.admin}"}
        answer = httpx.post(self.url + path, json=body, headers=headers).raise_for_status()
        return answer.json()

    def put_package(self, name: str, version: str, archive: bytes) -> None:
        headers = {"Authorization": f"Bearer {self.admin}"}
        url = f"{self.url}/models/{name}/{version}"
        httpx.put(url, content=archive, headers=headers).raise_for_status()

    def cpu_seconds(self) -> float:
        """Processor time the server has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> list[float]:
        self.process.terminate()
        self.process.wait(timeout=60)
        lags: list[float] = json.loads(self._lag_file.read_text())
        return lags


@contextmanager
def server(
    commit_delay: float = 0.0, prepare: Callable[[Path], None] = lambda _: None
) -> Iterator[Server]:
    """`prepare` fills the data folder before the server takes it."""
    with tempfile.TemporaryDirectory(dir=WORKSPACE) as folder:
        (Path(folder) / "farm").mkdir()
        prepare(Path(folder) / "farm")
        running = Server(Path(folder), commit_delay)
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.process.terminate()
                running.process.wait(timeout=60)


@contextmanager
def bare() -> Iterator[tuple[int, psutil.Process]]:
    """The port and the process of a Tornado with nothing behind it, see bare.py."""
    port = free_port()
    script = str(Path(__file__).with_name("bare.py"))
    process = subprocess.Popen([sys.executable, script, str(port)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it listens
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()


class Poster:
    """One kept-alive HTTP connection: a submitter's, at a tenth of a full client's cost."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token.encode()

    async def __aenter__(self) -> "Poster":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def post(self, path: str, body: bytes) -> bytes:
        """The answer's body. Raises RuntimeError where it is not 201."""
        return await self._send(b"POST", path, body, b"201")

    async def get(self, path: str) -> bytes:
        """The answer's body. Raises RuntimeError where it is not 200."""
        return await self._send(b"GET", path, b"", b"200")

    async def _send(self, method: bytes, path: str, body: bytes, status: bytes) -> bytes:
        self._writer.write(
            b"%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (method, path.encode(), self._token, len(body), body)
        )
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        answer = await self._reader.readexactly(length)
        if status not in head[:16]:
            raise RuntimeError(answer.decode())
        return answer
