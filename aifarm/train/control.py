"""The control socket: what the agent desires of a worker, read at step boundaries."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket

RUNNING, PAUSED, STOPPED = "running", "paused", "stopped"
DESIRED = (RUNNING, PAUSED, STOPPED)  # in the order of urgency: in a gang the highest wins


class Control:
    """A datagram socket at `path` (mode 0600) that takes `{"desired": "running|paused|stopped"}`.

    Messages are levels, not edges: only the latest counts, and repeats do no harm.
    """

    def __init__(self, path: str, desired: str) -> None:
        self.desired = desired
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        mask = os.umask(0o177)
        try:
            self._socket.bind(path)
        finally:
            os.umask(mask)
        self._ready = select.poll()
        self._ready.register(self._socket, select.POLLIN)

    def poll(self, timeout: float | None = 0.0) -> str:
        """What is desired now; waits up to `timeout` seconds for a message (None: for ever)."""
        if self._ready.poll(None if timeout is None else timeout * 1000):
            self._receive()
        return self.desired

    def close(self) -> None:
        """Ends listening. The folder, and what is left in it, is the agent's."""
        self._socket.close()

    def _receive(self) -> None:
        while True:
            try:
                message = json.loads(self._socket.recv(4096))
            except BlockingIOError:
                return
            except ValueError:
                continue
            if isinstance(message, dict) and message.get("desired") in DESIRED:
                self.desired = message["desired"]


def send(path: str, desired: str) -> bool:
    """Tells the worker behind `path`; False when nobody listens there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(json.dumps({"desired": desired}).encode(), path)
        except OSError:
            return False
    return True
