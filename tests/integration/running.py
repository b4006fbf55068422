"""A real server process of its own for each test that asks for one."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, Self

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from aifarm.packages import pack_source

MODEL = "def build_model(cfg): ...\ndef build_data(cfg): ...\n"

# An epoch takes an eighth of a second.
SLOW_MODEL = """
import time
import torch
from torch import nn
from torch.utils.data import TensorDataset

defaults = {"width": 2}


def build_model(cfg):
    return nn.Linear(4, cfg["width"])


def build_data(cfg):
    class Slow(TensorDataset):
        def __getitem__(self, index):
            time.sleep(0.002)
            return super().__getitem__(index)

    return Slow(torch.randn(64, 4), torch.randint(0, 2, (64,)))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def closed_with(connection: ClientConnection) -> tuple[int, str]:
    """The code and reason of the close frame that comes, whatever comes before it."""
    with suppress(ConnectionClosed):
        while True:
            connection.recv(timeout=30)
    assert connection.close_code is not None
    return connection.close_code, connection.close_reason or ""


class RunningServer:
    """`aifarm server` on loopback; `kill` is SIGKILL, and `start` takes up the same data again.

    `log`: a file for what it says, which is otherwise said with the test's own output.
    """

    def __init__(self, data_dir: Path, log: Path | None = None, **settings: Any) -> None:
        self.log = log
        self.data_dir = data_dir
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings = settings
        self._tokens: dict[str, str] = {}
        self._clients: list[httpx.Client] = []
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        code = (
            "import logging, sys; from pathlib import Path; logging.basicConfig();"
            "from aifarm.server import Settings, run;"
            f"run(Settings(port={self.port}, data_dir=Path(sys.argv[1]), **{self._settings!r}))"
        )
        command = [sys.executable, "-c", code, str(self.data_dir)]
        with self.log.open("ab") if self.log is not None else nullcontext() as log:
            self.process = subprocess.Popen(command, stderr=log)
        self.until_healthy()

    def until_healthy(self) -> None:
        """It leads the farm, or stands by."""
        assert self.process is not None
        retry = httpx.HTTPTransport(retries=0)
        with httpx.Client(transport=retry) as client:
            while self.process.poll() is None:
                try:
                    if client.get(f"{self.url}/api/health").status_code == 200:
                        return
                except httpx.TransportError:
                    os.sched_yield()
        raise AssertionError(f"the server ended with {self.process.returncode}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=30)

    def stop(self) -> int:
        """As SIGTERM. Returns the exit code."""
        assert self.process is not None
        for client in self._clients:
            client.close()
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(timeout=30)

    @property
    def database(self) -> str:
        return self._settings.get("database") or f"sqlite:///{self.data_dir}/farm.db"

    @property
    def admin_token(self) -> str:
        return (self.data_dir / "admin-token").read_text().strip()

    def token(self, role: str, name: str | None = None, **more: Any) -> str:
        """A token of this role and name, made once."""
        name = name or role
        if name not in self._tokens:
            body = {"role": role, "name": name, **more}
            made = self.http(self.admin_token).post("/api/v2/tokens", json=body)
            assert made.status_code == 201, made.text
            self._tokens[name] = made.json()["token"]
        return self._tokens[name]

    def http(self, token: str | None = None, **headers: str) -> httpx.Client:
        """A client that speaks as this token, the administrator's where none is given."""
        headers["Authorization"] = f"Bearer {token or self.admin_token}"
        client = httpx.Client(base_url=self.url, headers=headers, timeout=30)
        self._clients.append(client)
        return client

    def socket(self, client_id: str, token: str | None = None) -> ClientConnection:
        """A client's connection, with nothing but the documented headers."""
        return connect(
            f"ws://127.0.0.1:{self.port}/",
            additional_headers={
                "Client-ID": client_id,
                "Authorization": f"Bearer {token or self.token('agent')}",
            },
            compression=None,
        )

    def live(self, token: str | None = None, **options: Any) -> ClientConnection:
        return connect(
            f"ws://127.0.0.1:{self.port}/api/v2/live",
            additional_headers={"Authorization": f"Bearer {token or self.admin_token}"},
            compression=None,
            **options,
        )

    def publish(self, name: str = "model", version: str = "1.0", source: str = MODEL) -> None:
        archive = pack_source(source, name, version)
        put = self.http().put(f"/models/{name}/{version}", content=archive)
        assert put.status_code == 201, put.text
