"""A whole farm on this machine: one server process and some agents, started and ended together."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import psutil

from aifarm.sdk import AIFarmError, Farm, FarmUnreachable, connect
from aifarm.sdk.config import read_token, write_private

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
PORT = 8765
PATIENCE = 60.0
"""Seconds that the server, and then the agents, may take to be ready."""
PAUSE = 0.05
GRACE = 5.0
"""Seconds that a worker has to write its checkpoint when the farm ends."""


class LocalFarm:
    """A farm in `data_dir`, up from `start()` to `stop()`, or in a `with` block.

    `port` None: `preferred`, or a free one where that is taken. The processes end with this one,
    even when it is killed: the kernel ties them to the thread that calls `start`, so let that be
    one that stays. What they write goes to `data_dir`/logs. Where the farm is `lasting`, what
    trains goes on without it, and its next start takes that up. The server and the agents, but
    nothing that these start, keep the descriptor `held` open for as long as they live.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        agents: int = 2,
        port: int | None = None,
        preferred: int = PORT,
        server_options: Sequence[str] = (),
        lasting: bool = False,
        held: int | None = None,
    ) -> None:
        self.data_dir = Path(data_dir).resolve()
        self.names = [f"agent-{number}" for number in range(1, agents + 1)]
        self._choose_port = port is None
        self.port = port or free_port(preferred)
        self.token_file = self.data_dir / "server" / "admin-token"
        self.logs = self.data_dir / "logs"
        self.server: subprocess.Popen[bytes] | None = None
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        self._server_options = server_options
        self._lasting = lasting
        self._held = () if held is None else (held,)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def __enter__(self) -> "LocalFarm":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def connect(self) -> Farm:
        """The farm as its administrator sees it."""
        return connect(self.url, read_token(self.token_file))

    def start(self) -> None:
        """Returns when the server answers and every agent has joined. Raises AIFarmError."""
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.logs.mkdir(exist_ok=True)
        try:
            self._start_where_free()
            with self.connect() as farm:
                token = self._agent_token(farm)
                for name in self.names:
                    self.start_agent(name, token)
                self._await("the agents have joined", lambda: self._all_joined(farm))
        except BaseException:
            self.stop()
            raise

    def start_server(self) -> None:
        """Starts it, also again after its end; returns when it answers."""
        options = ["--host", HOST, "--port", str(self.port), *self._server_options]
        folder = ["--data-dir", str(self.data_dir / "server")]
        self.server = self._spawn(
            "server", ["-m", "aifarm.cli", "server", *options, *folder], signal.SIGTERM
        )
        self._await("the server answers", self._answers)

    def start_agent(self, name: str, token_file: Path, *more: str) -> None:
        """Starts the agent `name`, also again after its end; does not wait for it to join."""
        options = ["--server", self.url.replace("http", "ws", 1), "--token-file", str(token_file)]
        folder = ["--work-dir", str(self.data_dir / "agents" / name), "--grace", str(GRACE)]
        command = ["-m", "aifarm_agent", *options, "--client-id", name, *folder, *more]
        self.agents[name] = self._spawn(name, command, self._end_of_agents)

    @property
    def _end_of_agents(self) -> signal.Signals:
        """SIGTERM has an agent leave its workers to the next one, SIGINT give its tasks back."""
        return signal.SIGTERM if self._lasting else signal.SIGINT

    def problem(self) -> str | None:
        """What is wrong, in one sentence: a process that ended by itself; None when all live."""
        for name, process in (("server", self.server), *self.agents.items()):
            if process is not None and process.poll() is not None:
                return (
                    f"The {name} ended (exit code {process.returncode}): {self._last_words(name)}"
                )
        return None

    def stop(self) -> None:
        """Ends the agents, then the server; with all that the agents started, unless the farm is
        lasting. May be called twice."""
        agents = [process for process in self.agents.values() if process.poll() is None]
        started = [
            child
            for process in agents
            for child in (() if self._lasting else _descendants(process.pid))
        ]
        try:
            _end(agents, (self._end_of_agents, 3 * GRACE), (signal.SIGTERM, GRACE))
            _end([self.server] if self.server else [], (signal.SIGTERM, 10.0))
        finally:
            for process in (*agents, *([self.server] if self.server else [])):
                if process.poll() is None:
                    process.kill()
                    process.wait()
            _kill(started)

    # ------------------------------------------------------------ helpers

    def _start_where_free(self) -> None:
        try:
            self.start_server()
        except AIFarmError:
            if not self._choose_port or port_is_free(self.port):
                raise
            # Somebody else took the port since it was chosen.
            self.port = free_port(0)
            self.start_server()

    def _spawn(self, name: str, command: Sequence[str], death: signal.Signals) -> "Popen":
        leash = [sys.executable, "-I", str(Path(__file__).with_name("leash.py"))]
        environ = {key: value for key, value in os.environ.items() if key not in _PRIVATE}
        with open(self.logs / f"{name}.log", "ab") as log:
            return subprocess.Popen(
                [*leash, str(os.getpid()), str(int(death)), sys.executable, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                pass_fds=self._held,
                # Ctrl-C in a terminal reaches every process of the group: they end in our order.
                start_new_session=True,
            )

    def _await(self, what: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not ready():
            problem = self.problem()
            if problem:
                raise AIFarmError(problem)
            if time.monotonic() > deadline:
                raise AIFarmError(f"Waited {PATIENCE:g} s until {what}; the logs in {self.logs}.")
            time.sleep(PAUSE)

    def _answers(self) -> bool:
        if not self.token_file.exists():
            return False
        try:
            self.connect().close()
        except FarmUnreachable:
            return False
        return True

    def _agent_token(self, farm: Farm) -> Path:
        """One for all agents, and kept: a Client-ID belongs to the token that used it first."""
        path = self.data_dir / "agent-token"
        if not path.exists():
            token = farm.create_token("local agents", "agent").token
            write_private(path, f"{token}\n".encode())
        return path

    def _all_joined(self, farm: Farm) -> bool:
        joined = {client.id for client in farm.clients() if client.status == "active"}
        return joined.issuperset(self.names)

    def _last_words(self, name: str) -> str:
        path = self.logs / f"{name}.log"
        lines = path.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"nothing in {path}."


Popen = subprocess.Popen[bytes]

_PRIVATE = frozenset({"AIFARM_URL", "AIFARM_TOKEN", "AIFARM_FARM_FILE"})


def end_on_signals() -> None:
    """Lets SIGINT and SIGTERM end this program through its `with` blocks.

    A shell starts what it runs in the background with SIGINT ignored; it means us all the same.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def free_port(preferred: int) -> int:
    """`preferred` where it is free, else a port that is; 0 prefers none."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, preferred if port_is_free(preferred) else 0))
        port: int = probe.getsockname()[1]
    return port


def port_is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _end(processes: Iterable[Popen], *steps: tuple[signal.Signals, float]) -> None:
    """Sends each signal to what is still alive, and waits so many seconds for it to end."""
    for number, patience in steps:
        alive = [process for process in processes if process.poll() is None]
        for process in alive:
            process.send_signal(number)
        deadline = time.monotonic() + patience
        for process in alive:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.warning("Process %s did not end by %s.", process.pid, number.name)


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return found


def _kill(processes: Iterable[psutil.Process]) -> None:
    """What outlived the agent that started it. A number used anew is not mistaken for it."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
