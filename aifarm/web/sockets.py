"""The two sockets: `/` for agents and contract-only clients, `/api/v2/live` for readers.

Both know who speaks before the upgrade; a browser's Origin must be one of the farm's own names.
"""

import asyncio
import logging
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
from tornado.iostream import StreamClosedError
from tornado.websocket import (
    WebSocketClosedError,
    WebSocketHandler,
    WebSocketProtocol,
    WebSocketProtocol13,
)

from aifarm.app.errors import FarmError, Forbidden, InvalidRequest, TooLarge
from aifarm.app.links import Link
from aifarm.app.live import Mailbox, News, frames
from aifarm.app.messages import error_body
from aifarm.app.scopes import Principal, Scope
from aifarm.app.views import event_full
from aifarm.web.handler import FarmHandler
from aifarm.web.http import Host
from aifarm.web.outgoing import Outgoing
from aifarm.wire import live
from aifarm.wire.agent import MAX_MESSAGE, ServerMessage
from aifarm.wire.codec import WireError, decode_client, encode, explain

log = logging.getLogger(__name__)

_CLIENT_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")

_HANDSHAKE = {
    "Upgrade": "websocket",
    "Connection": "upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "=",
}
"""What each header of an upgrade has in it; a key is 16 bytes in base64."""

MESSAGE_TOO_BIG = 1009
"""What Tornado closes with; the contract does not have it."""

DISCARD_SECONDS, QUIET_SECONDS = 5.0, 0.3
"""How long the rest of a message that is too large may come in, and pause while it does."""

PROGRESS_SECONDS = 0.1
"""News of progress alone is sent at most this often: a reader gets the latest of it."""

MAX_MISSED = 10_000
"""Events of the farm that a reader who was away may catch up with."""


class FarmSocket(WebSocketHandler, FarmHandler):
    """Common to both: identity before the upgrade, text frames only, bounded sending."""

    _stream_request_body = False  # what asks for a socket has no body
    principal: Principal
    scope: Scope
    ended = False

    def initialize(self, host: Host) -> None:
        FarmHandler.initialize(self, host)
        self.outgoing = Outgoing(self)

    def accept(self) -> None:
        super().accept()
        self.check_version()
        self.principal.need(self.scope)
        self.check_handshake()
        self.host.facade.sessions.admit(self.principal)

    def check_handshake(self) -> None:
        """What Tornado would refuse too, but not in the envelope, and an exact Origin."""
        headers = self.request.headers
        for name, expected in _HANDSHAKE.items():
            if expected not in headers.get(name, "").lower():
                words = "This address is a WebSocket's, and the request is not an upgrade to one."
                raise InvalidRequest(words, field=name, expected=expected)
        origin = headers.get("Origin")
        if origin is not None and not self.check_origin(origin):
            words = "A page from elsewhere may not open the farm's sockets."
            raise Forbidden(words, field="Origin")

    async def get(self, *args: Any, **kwargs: Any) -> None:
        if self.refusal is not None:
            self.answer_error(self.refusal)
            return
        await super().get(*args, **kwargs)

    def get_websocket_protocol(self) -> WebSocketProtocol | None:
        found = super().get_websocket_protocol()
        return found and Protocol(self, False, found.params)

    def check_origin(self, origin: str) -> bool:
        return origin.lower() in self.host.origins

    def open(self, *args: str, **kwargs: str) -> None:
        self.set_nodelay(True)
        self.host.facade.sessions.opened(self)

    def on_close(self) -> None:
        self.host.facade.sessions.closed(self)

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Closes the socket; what the other side still sends is not heard."""
        self.ended = True
        # A frame that closes has room for so much.
        super().close(code, (reason or "").encode()[:120].decode(errors="ignore") or None)

    def on_message(self, message: str | bytes) -> None:
        if self.ended:
            return
        if isinstance(message, bytes):
            self.close(1003, "messages are JSON text, not binary")
            return
        try:
            self.take(message)
        except FarmError as error:
            self.refuse_message(error)
        except Exception:
            log.exception("a socket's message could not be handled")
            self.close(1011, "internal error")

    def take(self, message: str) -> None:
        raise NotImplementedError

    def refuse_message(self, error: FarmError) -> None:
        raise NotImplementedError


class Protocol(WebSocketProtocol13):
    """Tornado's, with the contract's close codes where it has others, or none."""

    handler: FarmSocket
    _discarding: asyncio.Task[None] | None = None

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        if code == MESSAGE_TOO_BIG:
            words = f"A message has at most {MAX_MESSAGE} bytes."
            self.handler.refuse_message(TooLarge(words, field="message", expected=words))
            super().close(1008, words)
            self._discarding = asyncio.ensure_future(self._discard())
            return
        super().close(code, reason)

    def _abort(self) -> None:
        """Frames that are against the protocol end here, as do connections that are gone."""
        if not (self.server_terminated or self.client_terminated or self.stream.closed()):
            super().close(1002, "that is not the WebSocket protocol")
        self.client_terminated = True
        if self._discarding is not None and not self._discarding.done():
            return
        super()._abort()

    async def _discard(self) -> None:
        """A close is heard only by a peer that may say all that it has begun to say."""
        with suppress(StreamClosedError, TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS):
                while True:
                    async with asyncio.timeout(QUIET_SECONDS):
                        await self.stream.read_bytes(MAX_MESSAGE, partial=True)
        super()._abort()


class AgentSocket(FarmSocket):
    """A client's connection: everything it says goes to the facade's links."""

    scope = Scope.WORK
    link: Link | None = None

    def accept(self) -> None:
        super().accept()
        client_id = self.request.headers.get("Client-ID", "")
        if not _CLIENT_ID.match(client_id):
            raise InvalidRequest(
                "The Client-ID header names the client: letters, digits, dot, dash, underscore.",
                field="Client-ID",
                expected="1 to 128 of letters, digits, dot, dash, underscore",
            )
        if self.principal.client_id not in (None, client_id):
            raise Forbidden(f"This token is {self.principal.client_id}'s, not {client_id}'s.")
        self.client_id = client_id

    def open(self, *args: str, **kwargs: str) -> None:
        super().open()
        self.host.monitor.opened("agent", self.outgoing)
        self.link = self.host.facade.links.opened(self.client_id, self.principal, self)

    def send(self, message: ServerMessage) -> None:
        self.outgoing.send(encode(message))

    def take(self, message: str) -> None:
        assert self.link is not None  # noqa: S101  open() came first
        self.host.monitor.heard(len(message))
        try:
            decoded = decode_client(message)
        except WireError as error:
            raise InvalidRequest.of(error, "message") from None
        self.host.facade.links.received(self.link, decoded)

    def refuse_message(self, error: FarmError) -> None:
        assert self.link is not None  # noqa: S101
        self.host.facade.links.refuse(self.link, error)

    def on_close(self) -> None:
        super().on_close()
        self.host.monitor.closed(self.outgoing)
        if self.link is not None:
            self.host.facade.links.closed(self.link)


_subscribe = msgspec.json.Decoder(live.Subscribe)


class LiveSocket(FarmSocket):
    """A reader's connection: one subscription at a time, each with a snapshot and then everything
    that changes."""

    scope = Scope.READ
    wanted: live.Subscribe
    reading: asyncio.Task[None] | None = None

    def initialize(self, host: Host) -> None:
        super().initialize(host)
        self._urgent, self._any_news = asyncio.Event(), asyncio.Event()

    def open(self, *args: str, **kwargs: str) -> None:
        super().open()
        self.host.monitor.opened("live", self.outgoing)

    def take(self, message: str) -> None:
        try:
            self.wanted = _subscribe.decode(message)
        except msgspec.DecodeError as error:
            raise InvalidRequest.of(explain(error, live.Subscribe), "message") from None
        self._wake(True)
        if self.reading is None:
            self.reading = asyncio.ensure_future(self._serve())

    def refuse_message(self, error: FarmError) -> None:
        self.outgoing.send(encode([live.Refused(error_body(error))]))

    def on_close(self) -> None:
        super().on_close()
        self.host.monitor.closed(self.outgoing)
        if self.reading is not None:
            self.reading.cancel()

    def _wake(self, is_urgent: bool) -> None:
        self._any_news.set()
        if is_urgent:
            self._urgent.set()

    async def _serve(self) -> None:
        before: Mailbox | None = None
        try:
            while True:
                before = await self._read(self.wanted, before)
        except (WebSocketClosedError, StreamClosedError):
            pass  # the reader left; on_close follows
        except Exception:
            log.exception("a reader's subscription ended")
            self.close(1011, "internal error")

    async def _read(self, wanted: live.Subscribe, before: Mailbox | None) -> Mailbox:
        """Serves a subscription until there is another. Returns its mailbox: what came to that
        last belongs to the next one, since no snapshot has points, logs or events."""
        with self.host.facade.following(wanted.topics, self._wake) as mailbox:
            if before is not None:
                named = wanted.since is not None  # the last event, and is sent all after that
                kept = (
                    one
                    for one in before.drain()
                    if not (named and isinstance(one.message, live.Happened))
                )
                await self._send(kept)
            seen = await self._catch_up(mailbox, wanted.since)
            missed = before is not None and before.missed
            await self._send_snapshot(
                mailbox, missed or (wanted.since is not None and seen is None)
            )
            sent = 0.0
            while True:
                await self._any_news.wait()
                if not self._urgent.is_set():  # the first after a while is sent at once
                    await _either(self._urgent, sent + PROGRESS_SECONDS - time.monotonic())
                sent = time.monotonic()
                self._urgent.clear()
                self._any_news.clear()
                missed, mailbox.missed = mailbox.missed, False
                # What comes while this is sent gathers in the mailbox.
                await self._send(one for one in mailbox.drain() if not _seen(one.message, seen))
                if missed:
                    await self._send_snapshot(mailbox, missed)
                if self.wanted is not wanted:
                    return mailbox

    async def _catch_up(self, mailbox: Mailbox, since: int | None) -> int | None:
        """Sends the events that the reader has missed. Returns the number of the last one that it
        has now; None where it names none, there are too many, or the farm never came so far."""
        facade = self.host.facade
        if since is None or not 0 <= facade.feed.last_event - since <= MAX_MISSED:
            return None
        loop = asyncio.get_running_loop()
        while since < facade.feed.last_event:
            read = partial(facade.store.events, after=since)
            found = await loop.run_in_executor(self.host.executor, read)
            if not found:
                break
            missed = [event_full(event) for event in found if mailbox.follows(event)]
            await self._send(News(live.Happened(event)) for event in missed)
            since = found[-1].id
        return since

    async def _send_snapshot(self, mailbox: Mailbox, missed: bool) -> None:
        for part in self.host.facade.snapshot(mailbox, missed):
            await self._send([News(part)])

    async def _send(self, news: Iterable[News]) -> None:
        """Returns once the reader's kernel has them all."""
        for frame in frames(news):
            written = self.outgoing.send(frame)
            if written is not None:
                await written


def _seen(message: live.Message, seen: int | None) -> bool:
    """Whether it is an event that the reader has."""
    return seen is not None and isinstance(message, live.Happened) and message.event.id <= seen


async def _either(urgent: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await urgent.wait()
    except TimeoutError:
        pass
