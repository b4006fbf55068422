"""The warm process: torch imported, one thread, no CUDA. It forks the workers.

    python -m aifarm.train.zygote --socket PATH [--orphan-limit SECONDS] [--idle-limit SECONDS]

It outlives the agent, and its workers die with it. It answers line-JSON on a unix socket (0600):

    {"id": 1, "op": "hello"}
    {"id": 2, "op": "spawn", "run_dir": RUN, "env": {...}}
    {"id": 3, "op": "store", "run_dir": RUN, "host": "0.0.0.0", "port": 0}
    {"id": 4, "op": "list"}
    {"id": 5, "op": "shutdown"}

With no connection for `orphan-limit` seconds it has every worker checkpoint and stop, then ends.
With neither connection nor worker for `idle-limit` seconds it ends.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Callable

from aifarm.train import children, watch, worker
from aifarm.train.children import Child
from aifarm.train.distributed import serve_store
from aifarm.train.preload import preload

IDLE_SECONDS = 30.0
ORPHAN_GRACE_SECONDS = 60.0  # for the checkpoints of workers that are told to stop
STOP_AGAIN_SECONDS = 1.0  # a worker that is just starting has no control socket yet
LINE_BYTES = 2**20


class Refused(Exception):
    """A request that cannot be met; the message is the answer."""


class WarmProcess:
    """Answers requests, forks workers and reaps them; all on one thread."""

    def __init__(self, path: str, orphan_limit: float | None, idle_limit: float) -> None:
        self._path = path
        self._orphan_limit = orphan_limit
        self._idle_limit = idle_limit
        self._workers: dict[int, Child] = {}
        self._stores: dict[Path, int] = {}  # rank 0's run folder: pid
        self._watchers: dict[int, Child] = {}  # pid: the worker beside it
        self._connections: dict[socket.socket, bytes] = {}  # what came of an unfinished line
        self._ending = False
        self._unusable = ""  # why there can be no worker
        self._selector = selectors.DefaultSelector()
        self._listener = listen(path)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "hello": self._hello,
            "spawn": self._spawn,
            "store": self._store,
            "list": self._list,
            "shutdown": self._shutdown,
        }

    def serve(self) -> None:
        """Runs until it is shut down, idle or orphaned."""
        self._unusable = preload()
        woken, waker = socket.socketpair()
        for end in (woken, waker):
            end.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._selector.register(woken, selectors.EVENT_READ, self._reap)
        # What exists now is never collected: the children would copy every page of it.
        gc.collect()
        gc.freeze()
        self._alone_since = self._workless_since = time.monotonic()
        while not self._done():
            for key, _ in self._selector.select(self._timeout()):
                key.data(key.fileobj)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def _done(self) -> bool:
        """Whether there is nothing left to do; an orphan's workers are told to stop."""
        if self._workers:
            if self._is_orphan():
                overdue = time.monotonic() >= self._orphaned_at() + ORPHAN_GRACE_SECONDS
                for worker in self._workers.values():
                    children.kill(worker) if overdue else children.stop(worker)
            return False
        if self._ending or self._is_orphan():
            return True
        return not self._connections and time.monotonic() >= self._idle_until()

    def _timeout(self) -> float | None:
        """Seconds until `_done` has to look again."""
        if self._connections:
            return None
        if self._is_orphan():
            return STOP_AGAIN_SECONDS
        moments = [] if self._workers else [self._idle_until()]
        if self._orphan_limit is not None:
            moments.append(self._alone_since + self._orphan_limit)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _is_orphan(self) -> bool:
        if self._connections or self._orphan_limit is None:
            return False
        return time.monotonic() >= self._orphaned_at()

    def _orphaned_at(self) -> float:
        return self._alone_since + (self._orphan_limit or 0.0)

    def _idle_until(self) -> float:
        return max(self._alone_since, self._workless_since) + self._idle_limit

    # Connections

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.setblocking(False)
        self._connections[connection] = b""
        self._selector.register(connection, selectors.EVENT_READ, self._receive)

    def _receive(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(2**16)
        except OSError:
            data = b""
        *lines, rest = (self._connections[connection] + data).split(b"\n")
        if not data or len(rest) > LINE_BYTES:
            return self._hang_up(connection)
        self._connections[connection] = rest
        for line in lines:
            try:
                connection.sendall(json.dumps(self._answer(line)).encode() + b"\n")
            except OSError:  # gone, or it does not read its answers
                return self._hang_up(connection)
        return None

    def _hang_up(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._connections[connection]
        connection.close()
        self._alone_since = time.monotonic()

    def _answer(self, line: bytes) -> dict[str, Any]:
        number = None
        try:
            request = json.loads(line)
            number = request["id"]
            operation = self._operations[request["op"]]
        except (ValueError, KeyError, TypeError):
            known = ", ".join(self._operations)
            error = f"a request is a line of JSON with an id and an op ({known})"
            return {"id": number, "ok": False, "error": error}
        try:
            return {"id": number, "ok": True, **operation(request)}
        except Refused as refusal:
            return {"id": number, "ok": False, "error": str(refusal)}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return {"id": number, "ok": False, "error": f"not a valid {request['op']}: {error!r}"}
        except OSError as error:
            return {"id": number, "ok": False, "error": f"{request['op']} failed: {error}"}

    # Operations

    def _hello(self, request: dict[str, Any]) -> dict[str, Any]:
        torch = sys.modules.get("torch")
        return {
            "pid": os.getpid(),
            "python": platform.python_version(),
            "torch": None if self._unusable or not torch else torch.__version__.split("+")[0],
            "cuda": None if self._unusable or not torch else torch.version.cuda,
        }

    def _spawn(self, request: dict[str, Any]) -> dict[str, Any]:
        self._check_usable()
        run_dir = Path(request["run_dir"])
        if any(worker.run_dir == run_dir for worker in self._workers.values()):
            raise Refused(f"a worker already runs in {run_dir}")
        task = json.loads((run_dir / "task.json").read_text())
        pid = children.fork(run_dir / "log", request.get("env", {}), lambda: worker.main(run_dir))
        child = Child(
            run_dir,
            pid,
            children.start_time(pid),
            task["doorbell"],
            task["control"],
            task["kind"],
        )
        self._workers[pid] = child
        if child.kind == "script" and task["rank"] == 0:
            self._watch(child)
        return {"pid": pid, "start_time": child.start_time}

    def _watch(self, worker: Child) -> None:
        run_dir = worker.run_dir
        with contextlib.suppress(OSError):  # then there are no curves
            (run_dir / "watching").touch()  # the end of the worker is told once this is gone
            pid = children.fork(run_dir / "log", {}, lambda: watch.main(run_dir))
            self._watchers[pid] = worker

    def _store(self, request: dict[str, Any]) -> dict[str, Any]:
        self._check_usable()
        run_dir = Path(request["run_dir"])
        if run_dir in self._stores:
            raise Refused(f"{run_dir} has a store already")
        # Bound here, so that the port is known and taken before the child begins to serve it.
        with socket.create_server((request["host"], request["port"]), backlog=1024) as server:
            port = server.getsockname()[1]
            descriptor = server.fileno()
            pid = children.fork(
                run_dir / "log", {}, lambda: serve_store(port, descriptor), keep=descriptor
            )
        self._stores[run_dir] = pid
        return {"pid": pid, "port": port}

    def _list(self, request: dict[str, Any]) -> dict[str, Any]:
        workers = [
            {"run_dir": str(w.run_dir), "pid": w.pid, "start_time": w.start_time}
            for w in self._workers.values()
        ]
        return {"workers": workers}

    def _shutdown(self, request: dict[str, Any]) -> dict[str, Any]:
        self._ending = True
        return {}

    def _check_usable(self) -> None:
        if self._unusable:
            raise Refused(self._unusable)
        if self._ending:
            raise Refused("the warm process is shutting down")

    # Children

    def _reap(self, woken: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            woken.recv(4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in self._workers:
                self._record_exit(self._workers.pop(pid), status)
            elif pid in self._watchers:
                watched = self._watchers.pop(pid)
                with contextlib.suppress(OSError):
                    (watched.run_dir / "watching").unlink()
                children.ring(watched)
            else:
                self._stores = {run: store for run, store in self._stores.items() if store != pid}

    def _record_exit(self, worker: Child, status: int) -> None:
        store = self._stores.get(worker.run_dir)
        if store is not None:
            os.kill(store, signal.SIGKILL)
        self._workless_since = time.monotonic()
        killed = os.WIFSIGNALED(status)
        exit_line = {
            "pid": worker.pid,
            "code": None if killed else os.WEXITSTATUS(status),
            "signal": os.WTERMSIG(status) if killed else None,
        }
        temporary = worker.run_dir / "exit.tmp"
        with contextlib.suppress(OSError):  # the agent has removed the folder: it knows
            temporary.write_text(json.dumps(exit_line))
            os.replace(temporary, worker.run_dir / "exit.json")
        children.ring(worker)


def listen(path: str) -> socket.socket:
    """A listening unix socket at `path`, mode 0600. Exits when a live process listens there."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            pass
        except ConnectionRefusedError:  # left by one that was killed
            os.unlink(path)
        else:
            raise SystemExit(f"another warm process listens at {path}")
    listener = socket.socket(socket.AF_UNIX)
    listener.setblocking(False)
    mask = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(mask)
    listener.listen()
    return listener


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m aifarm.train.zygote", description=__doc__)
    parser.add_argument("--socket", required=True, metavar="PATH")
    parser.add_argument("--orphan-limit", type=float, metavar="SECONDS")
    parser.add_argument("--idle-limit", type=float, default=IDLE_SECONDS, metavar="SECONDS")
    options = parser.parse_args()
    WarmProcess(options.socket, options.orphan_limit, options.idle_limit).serve()


if __name__ == "__main__":
    main()
