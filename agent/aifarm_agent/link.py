"""The connection to the server: made again and again, until the server refuses this agent."""

import asyncio
import itertools
import json
import logging
import ssl
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from aifarm.wire.agent import MAX_MESSAGE, FromClient, FromServer
from aifarm.wire.codec import WireError, decode_server, encode
from aifarm_agent.backoff import delays

logger = logging.getLogger(__name__)

PING = 10.0
STABLE = 10.0
"""Seconds after which a connection counts as a good one."""
POLICY_VIOLATION = 1008
TOO_SLOW = "reads too slowly"


class Refusal(Exception):
    """The server will not have this agent; the message is one sentence."""


class Unauthorized(Refusal):
    """It does not accept the token."""


class Listener(Protocol):
    """Who speaks over the link."""

    def opened(self, url: str) -> None: ...

    def received(self, message: FromServer) -> None: ...

    def closed(self, reason: str) -> None: ...


class Link:
    """One connection at a time to one of `urls`, tried in turn.

    `url` is the server that was reached last, `address` our own on the way to it.
    """

    def __init__(
        self,
        urls: Sequence[str],
        headers: dict[str, str],
        context: ssl.SSLContext | None,
        listener: Listener,
    ) -> None:
        self._urls = urls
        self._headers = headers
        self._context = context
        self._listener = listener
        self._socket: ClientConnection | None = None
        self._out: deque[FromClient] = deque()
        self._wake = asyncio.Event()
        self.url = urls[0]
        self.address = "127.0.0.1"

    def send(self, message: FromClient) -> None:
        """Dropped where there is no connection: the outbox keeps what matters."""
        if self._socket is not None:
            self._out.append(message)
            self._wake.set()

    async def run(self) -> None:
        """Until cancelled. Raises Refusal."""
        waits = delays()
        told: set[str] = set()  # one line for each server that cannot be reached, not one per try
        for url in itertools.cycle(self._urls):
            began = time.monotonic()
            try:
                await self._once(url)
                told.clear()
                if time.monotonic() > began + STABLE:
                    waits = delays()
            except InvalidStatus as error:
                status = error.response.status_code
                if status in (401, 403):
                    raise Unauthorized(f"{url} refuses this agent: {_words(error)}") from None
                self._tell(told, url, f"answers {status}")
            except (OSError, WebSocketException, TimeoutError) as error:
                self._tell(told, url, f"cannot be reached: {error or type(error).__name__}")
            await asyncio.sleep(next(waits))

    def _tell(self, told: set[str], url: str, reason: str) -> None:
        if url not in told:
            logger.warning("%s %s; trying again", url, reason)
            told.add(url)

    def drop(self, reason: str) -> None:
        """Ends this connection; the next one is made."""
        if self._socket is not None:
            logger.warning("connection dropped: %s", reason)
            self._socket.transport.abort()

    async def _once(self, url: str) -> None:
        """One connection, from its opening to its end."""
        async with connect(
            url,
            additional_headers=self._headers,
            ssl=self._context if url.startswith("wss:") else None,
            compression=None,
            max_size=MAX_MESSAGE,
            open_timeout=10,
            ping_interval=PING,
            ping_timeout=PING,
            close_timeout=2,
        ) as opened:
            self._socket, self.url, self.address = opened, url, str(opened.local_address[0])
            self._out.clear()
            sending = asyncio.create_task(self._send_all(opened))
            self._listener.opened(url)
            reason = "closed"
            try:
                async for frame in opened:
                    self._take(frame)
            except ConnectionClosed as error:
                reason = str(error)
            finally:
                self._socket = None
                sending.cancel()
                self._listener.closed(reason)
                await asyncio.gather(sending, return_exceptions=True)
        if opened.close_code == POLICY_VIOLATION and opened.close_reason != TOO_SLOW:
            raise Refusal(_farewell(url, opened.close_reason or "no reason given"))

    def _take(self, frame: str | bytes) -> None:
        try:
            message = decode_server(frame)
        except WireError as error:
            logger.warning("a message of the server is left out: %s", error)
            return
        self._listener.received(message)

    async def _send_all(self, opened: ClientConnection) -> None:
        while True:
            while self._out:
                await opened.send(encode(self._out.popleft()).decode())
            self._wake.clear()
            await self._wake.wait()


def rest_url(url: str) -> str:
    """Where the REST API of the server behind this WebSocket URL is."""
    parts = urlsplit(url)
    scheme = "https" if parts.scheme == "wss" else "http"
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _words(error: InvalidStatus) -> str:
    try:
        return str(json.loads(error.response.body or b"")["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.response.status_code}"


def _farewell(url: str, reason: str) -> str:
    if reason == "replaced":
        return f"{url} took a newer agent with this client id in place of this one."
    return f"{url} refuses this agent: {reason}"
