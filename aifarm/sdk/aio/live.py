"""The live feed: one connection to the farm, shared by all who follow something, made again when
it is lost, and closed when nobody is left."""

import logging
import random
import ssl
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from aifarm.sdk import backoff
from aifarm.sdk.aio.runtime import Condition, sleep, spawn, woken
from aifarm.sdk.call import API, Answer, failure
from aifarm.sdk.config import Address
from aifarm.sdk.errors import AIFarmError, ServerError, WaitTimeout
from aifarm.sdk.feed import Feed, Reader
from aifarm.wire import live

logger = logging.getLogger(__name__)

MAX_MESSAGE = 16 << 20
"""Bytes: a snapshot of a farm with many tasks is larger than any single change."""

NOT_UNDERSTOOD = frozenset({1002, 1003, 1007, 1009, 1010})
"""Close codes that the same words on a new connection would meet again."""

OPEN_TIMEOUT = 10.0
CLOSE_TIMEOUT = 1.0


class AsyncLive:
    """`listen` as often as wanted, together: there is never more than one connection."""

    def __init__(
        self,
        address: Address,
        tls: ssl.SSLContext | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = sleep,
    ) -> None:
        self._address = address
        self._tls = tls
        self._sleep = sleep
        self._feed = Feed()
        self._changed = Condition()
        self._pumping = False
        self._socket: ClientConnection | None = None

    async def listen(
        self, topics: Sequence[str], *, timeout: float | None = None
    ) -> AsyncGenerator[live.Message, None]:
        """Messages about `topics`, without end: a lost connection is made again and goes on.

        Raises WaitTimeout after `timeout` seconds, and the farm's AIFarmError when it refuses.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        reader = Reader(topics)
        await self._join(reader)
        try:
            while True:
                for message in await self._news(reader, deadline):
                    yield message
        except TimeoutError:
            raise WaitTimeout(f"Nothing more after {timeout:g} seconds.") from None
        finally:
            await self._leave(reader)

    async def close(self) -> None:
        """Ends the connection; whoever still listens gets an AIFarmError."""
        await self._fail(AIFarmError("The connection to the farm was closed here."))
        await self._close_if_alone()

    # ------------------------------------------------------------ readers

    async def _join(self, reader: Reader) -> None:
        async with self._changed:
            self._feed.readers.append(reader)
            if not self._pumping:
                self._pumping = True
                spawn(self._pump)
            elif self._socket is not None:
                await self._subscribe(self._socket)

    async def _leave(self, reader: Reader) -> None:
        async with self._changed:
            if reader in self._feed.readers:
                self._feed.readers.remove(reader)
        await self._close_if_alone()

    async def _close_if_alone(self) -> None:
        async with self._changed:
            socket = None if self._feed.readers else self._socket
        if socket is not None:
            await socket.close()

    async def _news(self, reader: Reader, deadline: float | None) -> list[live.Message]:
        async with self._changed:
            while not reader:
                if reader.error is not None:
                    raise reader.error
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError
                await woken(self._changed, left)
            return reader.take()

    # ------------------------------------------------------------ the connection

    async def _pump(self) -> None:
        """Keeps one connected for as long as anybody listens, and hands out what it says."""
        tries = 0
        while await self._wanted():
            refusal: AIFarmError | None
            problem: Exception
            url = self._address.url
            try:
                async with self._connected(url) as socket:
                    await self._attach(socket)
                    while True:
                        frame = await socket.recv()
                        async with self._changed:
                            self._feed.receive(frame)
                            self._changed.notify_all()
                        tries = 0
            except AIFarmError as error:
                refusal, problem = error, error
            except (OSError, WebSocketException) as error:
                refusal, problem = _refusal(error), error
            except Exception as error:
                # A defect: whoever listens must be told, and not wait for ever.
                logger.exception("The live feed ended by an error of its own.")
                refusal, problem = AIFarmError(f"The live feed failed: {error!r}."), error
            finally:
                self._socket = None
            if refusal is not None:
                await self._fail(refusal)
            elif await self._wanted():
                self._address.turn(url)
                tries += 1
                (logger.warning if tries == 1 else logger.info)(
                    "Lost contact with the farm at %s (%s); trying again.", url, problem
                )
                await self._sleep(backoff.delay(tries, random.random(), _retry_after(problem)))

    async def _wanted(self) -> bool:
        """Whether anybody listens; if not, the next one starts anew."""
        async with self._changed:
            self._pumping = bool(self._feed.readers)
            return self._pumping

    async def _attach(self, socket: ClientConnection) -> None:
        async with self._changed:
            self._socket = socket
            if self._feed.readers:
                await self._subscribe(socket)
            else:
                await socket.close()

    async def _subscribe(self, socket: ClientConnection) -> None:
        # Where it is closed, the pump hears of it too, and subscribes on the next connection.
        with suppress(ConnectionClosed):
            await socket.send(self._feed.subscribe())

    async def _fail(self, error: AIFarmError) -> None:
        async with self._changed:
            self._feed.fail(error)
            self._changed.notify_all()

    @asynccontextmanager
    async def _connected(self, url: str) -> AsyncGenerator[ClientConnection, None]:
        async with connect(
            "ws" + url.removeprefix("http") + f"{API}/live",
            additional_headers={"Authorization": f"Bearer {self._address.token}"},
            ssl=self._tls if url.startswith("https") else None,
            proxy=None if self._address.on_loopback else True,
            compression=None,
            max_size=MAX_MESSAGE,
            open_timeout=OPEN_TIMEOUT,
            close_timeout=CLOSE_TIMEOUT,
        ) as socket:
            yield socket


def _refusal(error: Exception) -> AIFarmError | None:
    """None: it may be otherwise soon, as while a server starts behind a proxy."""
    if isinstance(error, ConnectionClosed):
        if error.rcvd is None or error.rcvd.code not in NOT_UNDERSTOOD:
            return None
        return ServerError(f"The farm refuses the live feed: {error.rcvd.reason}.")
    if not isinstance(error, InvalidStatus):
        return None
    status, body = error.response.status_code, error.response.body
    if status == 429 or status >= 500:
        return None
    return failure(Answer(status, {}, bytes(body or b"")))


def _retry_after(error: Exception) -> float | None:
    if not isinstance(error, InvalidStatus):
        return None
    headers = {"retry-after": error.response.headers.get("Retry-After", "")}
    return Answer(error.response.status_code, headers, b"").retry_after
