"""A warm process and its run folders, as an agent sees them: for the tests of aifarm.train."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from journal_lines import points_of

DIGITS = Path(__file__).parents[1] / "examples" / "digits"
PATIENCE = 60.0


class RunFolder:
    """One rank's run folder with its doorbell; reads the journal as the agent does."""

    def __init__(self, path, sockets, package, config, **task):
        path.mkdir(parents=True)
        self.path = path
        self.lines = []
        self._next = 1
        self._offset = 0
        name = len(list(sockets.iterdir()))
        self.control = str(sockets / f"c{name}")
        self.bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.bell.bind(str(sockets / f"b{name}"))
        self.bell.settimeout(PATIENCE)
        defaults = {
            "task_id": "t",
            "attempt": 1,
            "rank": 0,
            "world_size": 1,
            "local_rank": 0,
            "kind": "declarative",
            "entry": "model.py",
            "package": {},
            "package_dir": str(package),
            "config": config,
            "args": [],
            "mounts": {},
            "resume": None,
            "data": {},
            "desired": "running",
            "checkpoint_seconds": 300,
            "keep_checkpoints": 2,
            "gpu_locks": [],
            "doorbell": str(sockets / f"b{name}"),
            "control": self.control,
        }
        (path / "task.json").write_text(json.dumps({**defaults, **task}))

    def desire(self, state):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(json.dumps({"desired": state}).encode(), self.control)

    def read(self):
        """Takes in the complete lines that are new; returns them."""
        new = []
        while True:
            segment = self.path / "journal" / f"{self._next:08d}.jsonl"
            if not segment.exists():
                break
            with open(segment, "rb") as file:
                file.seek(self._offset)
                data = file.read()
            complete = data[: data.rfind(b"\n") + 1]
            new += [json.loads(line) for line in complete.splitlines()]
            self._offset += len(complete)
            if not (self.path / "journal" / f"{self._next + 1:08d}.jsonl").exists():
                break
            self._next, self._offset = self._next + 1, 0
        self.lines += new
        return new

    def wait_for(self, kind, condition=lambda line: True):
        """The first line of this kind that meets the condition, among those not yet returned."""
        start = getattr(self, "_seen", 0)
        while True:
            self.read()
            for index in range(start, len(self.lines)):
                line = self.lines[index]
                if line["type"] == kind and condition(line):
                    self._seen = index + 1
                    return line
                if line["type"] == "failed":
                    raise AssertionError(f"{line['message']}\n{line['traceback']}")
            start = len(self.lines)
            assert not self.exit_file.exists(), f"ended: {self.log}"
            self._await_bell()

    def wait_for_step(self, step):
        """Waits until a point of `step` or later is reported."""
        return self.wait_for("points", lambda line: points_of(line)[-1][0] >= step)

    def wait_for_end(self):
        """The last line, once the process is reaped (None if it left none) and its exit."""
        while not self.exit_file.exists():
            self._await_bell()
        self.read()
        last = self.lines[-1] if self.lines else None
        return last, json.loads(self.exit_file.read_text())

    def of(self, kind):
        return [line for line in self.lines if line["type"] == kind]

    @property
    def points(self):
        return [point for line in self.of("points") for point in points_of(line)]

    @property
    def checkpoints(self):
        return sorted((self.path / "checkpoints").glob("step-*.pt"))

    @property
    def exit_file(self):
        return self.path / "exit.json"

    @property
    def log(self):
        return (self.path / "log").read_text()

    def _await_bell(self):
        try:
            self.bell.recv(16)
        except TimeoutError:
            log = self.log if (self.path / "log").exists() else "(no log)"
            raise AssertionError(f"nothing heard; lines: {self.lines[-3:]}; log: {log}") from None


class WarmProcess:
    """`python -m aifarm.train.zygote` and one connection to it."""

    def __init__(self, home, *options, python=sys.executable, env=None):
        self.home = home
        self.sockets = Path(tempfile.mkdtemp(prefix="aifarm-"))  # short paths
        self.socket_path = self.sockets / "warm"
        self._folders = []
        self.process = subprocess.Popen(
            [python, "-m", "aifarm.train.zygote", "--socket", self.socket_path, *options],
            cwd=home,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,  # says nothing; the end of it is the end of the process
        )
        self.connection = None
        self._number = 0

    def connect(self):
        self.connection = connect(self.socket_path, self.process)
        self._file = self.connection.makefile("rwb")
        return self

    def disconnect(self):
        self._file.close()
        self.connection.close()

    def ask(self, op, **arguments):
        self._number += 1
        self._file.write(json.dumps({"id": self._number, "op": op, **arguments}).encode() + b"\n")
        self._file.flush()
        answer = json.loads(self._file.readline())
        assert answer.pop("id") == self._number
        return answer

    def folder(self, package=DIGITS, config=None, **task):
        number = len(self._folders)
        folder = RunFolder(self.home / f"run{number}", self.sockets, package, config or {}, **task)
        self._folders.append(folder)
        return folder

    def start(self, package=DIGITS, config=None, env=None, **task):
        """A worker of one rank."""
        folder = self.folder(package, config, **task)
        folder.spawned = self.ask("spawn", run_dir=str(folder.path), env=env or {})
        assert folder.spawned["ok"], folder.spawned
        return folder

    def start_gang(self, size, package=DIGITS, config=None, **task):
        """Workers of `size` ranks; the first is rank 0."""
        folders = [
            self.folder(package, config, rank=rank, world_size=size, local_rank=rank, **task)
            for rank in range(size)
        ]
        store = self.ask("store", run_dir=str(folders[0].path), host="127.0.0.1", port=0)
        assert store["ok"], store
        for rank, folder in enumerate(folders):
            env = {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(size),
                "LOCAL_WORLD_SIZE": str(size),
                "GROUP_RANK": "0",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(store["port"]),
                "TORCHELASTIC_USE_AGENT_STORE": "True",
                "TORCHELASTIC_RESTART_COUNT": "0",
                "GLOO_SOCKET_IFNAME": "lo",
            }
            folder.spawned = self.ask("spawn", run_dir=str(folder.path), env=env)
            assert folder.spawned["ok"], folder.spawned
        return folders

    def close(self):
        """Kills the process; its workers die with it."""
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        if self.connection is not None:
            self.disconnect()
        for folder in self._folders:
            folder.bell.close()
        shutil.rmtree(self.sockets, ignore_errors=True)


def connect(path, process):
    """A connection to the socket that `process` binds in a moment."""
    while True:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        try:
            connection.connect(str(path))
            return connection
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            assert process.poll() is None, "the warm process has ended"
