"""What is on its way to one socket: bounded in bytes and in time.

A peer that does not read would otherwise grow the server without limit (SECURITY row 23).
"""

import asyncio
from typing import Any

from tornado.websocket import WebSocketClosedError, WebSocketHandler

BUDGET = 8 << 20
"""Bytes that may wait for one peer."""

DEADLINE = 30.0
"""Seconds that the oldest of them may wait."""


class Outgoing:
    """Sends at once where the peer keeps up; ends the connection where it does not."""

    def __init__(self, handler: WebSocketHandler) -> None:
        self._handler = handler
        self.waiting = 0
        self._stuck: asyncio.TimerHandle | None = None

    def send(self, frame: bytes) -> asyncio.Future[Any] | None:
        """Hands a text frame to the connection. The future is done once the peer's kernel has it;
        None when the connection is closed."""
        if self.waiting and self.waiting + len(frame) > BUDGET:
            self.abort()
            return None
        try:
            written = asyncio.ensure_future(self._handler.write_message(frame))
        except WebSocketClosedError:
            return None
        self.waiting += len(frame)
        if self._stuck is None:
            loop = asyncio.get_running_loop()
            self._stuck = loop.call_later(DEADLINE, self.abort)
        written.add_done_callback(lambda done: self._sent(done, len(frame)))
        return written

    def abort(self) -> None:
        """Drops the connection without waiting for a peer that does not read."""
        self._settle()
        connection = self._handler.ws_connection
        if connection is not None:
            self._handler.close(1008, "reads too slowly")
            connection._abort()

    def _sent(self, done: asyncio.Future[Any], size: int) -> None:
        self.waiting -= size
        if not done.cancelled():
            done.exception()  # a connection that closed meanwhile is told by on_close
        if self.waiting == 0:
            self._settle()

    def _settle(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
