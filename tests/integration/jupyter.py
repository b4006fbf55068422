"""A real Jupyter server with the extension, in a home of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx
from websockets.sync.client import ClientConnection, connect

from integration.running import free_port

# Only what is tested: Lab itself and its neighbours would take seconds to load.
OTHERS = ("jupyterlab", "jupyter_lsp", "jupyter_server_terminals", "notebook_shim")

PRIVATE = ("AIFARM", "JUPYTER", "JPY", "XDG")


class Jupyter:
    """`jupyter server`; `stop` and `start` again keep what is there, `kill` is SIGKILL.

    `config`: lines for jupyter_server_config.py. `certificate`: where it speaks TLS.
    """

    token = "secret"

    def __init__(
        self,
        home: Path,
        config: str = "",
        *,
        base_url: str = "/",
        certificate: tuple[Path, Path] | None = None,
        **environ: str,
    ) -> None:
        self.home = home
        self.port = free_port()
        self.base_url = base_url
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.port}{base_url}aifarm"
        self.log = home / f"jupyter-{self.port}.log"
        self.runtime = home / "runtime"
        self.process: subprocess.Popen[bytes] | None = None
        self._clients: list[httpx.Client] = []
        self._environ = environ
        enabled = {"aifarm_jupyter": True, **dict.fromkeys(OTHERS, False)}
        lines = [
            f"c.ServerApp.jpserver_extensions = {enabled}",
            f"c.ServerApp.port = {self.port}",
            "c.ServerApp.port_retries = 0",
            "c.ServerApp.allow_root = True",
            "c.ServerApp.open_browser = False",
            "c.ServerApp.allow_unauthenticated_access = False",
            f"c.ServerApp.base_url = {base_url!r}",
            f"c.ServerApp.root_dir = {str(home)!r}",
            f"c.IdentityProvider.token = {self.token!r}",
        ]
        if certificate:
            lines += [
                f"c.ServerApp.certfile = {str(certificate[0])!r}",
                f"c.ServerApp.keyfile = {str(certificate[1])!r}",
            ]
        home.mkdir(parents=True, exist_ok=True)
        self._config = home / f"config-{self.port}.py"
        self._config.write_text("\n".join([*lines, config]))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns once it answers and its farm is there, or is known to be away."""
        ours = {k: v for k, v in os.environ.items() if not k.startswith(PRIVATE)}
        places = {"HOME": str(self.home), "JUPYTER_RUNTIME_DIR": str(self.runtime)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jupyter_server", f"--config={self._config}"],
                cwd=self.home,
                env={**ours, **places, "OMP_NUM_THREADS": "1", **self._environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.until("leading", "following", "attached", "away")

    def until(self, *states: str) -> dict[str, Any]:
        """What it says of its farm, once that is in one of these states."""
        assert self.process is not None
        with self.http() as http:
            while self.process.poll() is None:
                try:
                    info: dict[str, Any] = http.get("/info").json()
                    if info["state"] in states:
                        return info
                except httpx.TransportError:
                    pass
                time.sleep(0.1)  # it answers when it is asked, and tells nobody
        raise AssertionError(f"Jupyter ended: {self.log.read_text()}")

    def stop(self) -> None:
        assert self.process is not None
        for client in self._clients:
            client.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(timeout=60)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(timeout=30)

    def http(self, token: str | None = token) -> httpx.Client:
        """Under the extension's address; None is nobody."""
        headers = {"Authorization": f"token {token}"} if token else {}
        client = httpx.Client(base_url=self.url, headers=headers, timeout=60, verify=False)
        self._clients.append(client)
        return client

    def live(self, token: str | None = token, cookie: str = "", **options: Any) -> ClientConnection:
        headers = {"Authorization": f"token {token}"} if token else {"Cookie": cookie}
        url = f"{self.url.replace('http', 'ws', 1)}/api/v2/live"
        return connect(url, additional_headers=headers, open_timeout=60, **options)

    def snapshot(self, token: str | None = token, **options: Any) -> dict[str, Any]:
        """The first message of the live feed."""
        with self.live(token, **options) as socket:
            socket.send(json.dumps({"type": "subscribe", "topics": ["farm"]}))
            first: dict[str, Any] = json.loads(socket.recv(timeout=60))[0]
        return first

    def kernel(self) -> "Kernel":
        """One that this server starts, in its own environment."""
        return Kernel(self)


class Kernel:
    """A notebook's, reached as a page reaches it."""

    def __init__(self, jupyter: Jupyter) -> None:
        self._http = jupyter.http()
        root = jupyter.url.removesuffix("aifarm")
        made = self._http.post(f"{root}api/kernels", json={"name": "python3"})
        assert made.status_code == 201, made.text
        self._address = f"{root}api/kernels/{made.json()['id']}"
        self._stack = ExitStack()
        self._token = {"Authorization": f"token {jupyter.token}"}

    def __enter__(self) -> Self:
        url = f"{self._address.replace('http', 'ws', 1)}/channels"
        self._socket = self._stack.enter_context(
            connect(url, additional_headers=self._token, open_timeout=120)
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._http.delete(self._address)

    def run(self, code: str) -> str:
        """What a cell writes, or fails with."""
        header = {"msg_id": uuid4().hex, "msg_type": "execute_request", "version": "5.3"}
        request = {
            "header": {**header, "username": "", "session": "test"},
            "parent_header": {},
            "metadata": {},
            "content": {"code": code, "silent": False, "store_history": False},
            "channel": "shell",
            "buffers": [],
        }
        self._socket.send(json.dumps(request))
        told = ""
        while True:
            message = json.loads(self._socket.recv(timeout=120))
            if message["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            content = message["content"]
            told += content.get("text", "") or "\n".join(content.get("traceback", ()))
            if content.get("execution_state") == "idle":
                return told
