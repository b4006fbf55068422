"""The farm's REST and live feed under Jupyter's own address, with Jupyter's own log-in.

The farm's token stays on this side, and Jupyter's on the other.
"""

import asyncio
import logging
import re
from contextlib import suppress

import httpx
from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError, WebSocketHandler
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from aifarm.sdk.config import Address
from aifarm_jupyter.actions import asked
from aifarm_jupyter.handler import FarmHandler

log = logging.getLogger(__name__)

ASKED = ("Accept", "Content-Type", "Idempotency-Key", "Range", "X-API-Version", "If-None-Match")
ANSWERED = (
    "Content-Type",
    "Content-Length",
    "Content-Disposition",
    "Content-Range",
    "Accept-Ranges",
    "ETag",
    "Retry-After",
    "X-API-Version",
    "X-Total-Count",
    "X-Page-Count",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
)
JUPYTERS = frozenset({"token", "_xsrf", "no_track_activity"})
"""Of a query, what is Jupyter's own: the farm does not know it, and is not to see the token."""

MAX_MESSAGE = 8 << 20
PING_SECONDS = 10.0


class RestProxy(FarmHandler, APIHandler):
    """One request, passed on and answered piece by piece."""

    @web.authenticated
    async def get(self, _: str) -> None:
        # As it came: decoded and put together again it might name another place.
        path = self.request.path[len(self.base_url) + len("aifarm/") :]
        method = self.request.method or "GET"
        wanted = asked(method, path, self.request.body)
        if wanted is None:
            raise web.HTTPError(404, "The farm's %s is not to be had through Jupyter.", path)
        await self.authorize(*wanted)
        answer = await self._pass_on(method, path)
        try:
            await self._answer(answer)
        except StreamClosedError:
            pass  # the page has gone
        finally:
            await answer.aclose()

    head = post = put = patch = delete = get

    async def _pass_on(self, method: str, path: str) -> httpx.Response:
        """The farm's answer, of whichever of its servers takes the request."""
        headers = {
            name: self.request.headers[name] for name in ASKED if name in self.request.headers
        } | {"Accept-Encoding": "identity"}
        query = _without_jupyters(self.request.query)
        address = self.address
        left = len(address.others)
        while True:
            server, token = address.url, address.token
            farm = httpx.URL(server)
            request = self.extension.client.build_request(
                method,
                farm.copy_with(raw_path=f"{farm.path.rstrip('/')}/{path}{query}".encode()),
                headers={**headers, "Authorization": f"Bearer {token}"},
                content=self.request.body or None,
            )
            try:
                answer = await self.extension.client.send(request, stream=True)
            except httpx.HTTPError as error:
                address.turn(server)
                # Only what was never sent may be sent again.
                if not (left and isinstance(error, httpx.ConnectError)):
                    raise web.HTTPError(502, f"The farm at {server} does not answer.") from error
                left -= 1
                continue
            if answer.status_code == 401 and self.extension.renew_token(token):
                await answer.aclose()
                continue
            if answer.status_code == 503:
                address.turn(server)
            return answer

    async def _answer(self, answer: httpx.Response) -> None:
        self.set_status(answer.status_code)
        for name in ANSWERED:
            if name in answer.headers:
                self.set_header(name, answer.headers[name])
        if "Link" in answer.headers:  # other pages of a list, at the farm's own address
            here = f"<{self.base_url}aifarm/api/"
            self.set_header("Link", re.sub(r"<[^>?]*?/api/", here, answer.headers["Link"]))
        if self.request.method != "HEAD":
            async for piece in answer.aiter_raw():
                self.write(piece)
                await self.flush()  # waits for a slow reader
        await self.finish(set_content_type=answer.headers.get("Content-Type", "text/plain"))

    def compute_etag(self) -> str | None:
        """The farm's."""
        return self._headers.get("ETag")


class LiveProxy(FarmHandler, WebSocketMixin, WebSocketHandler, JupyterHandler):  # type: ignore[misc]
    """The live feed: each frame of one side goes to the other. It can only be looked at."""

    _beyond: ClientConnection | None = None
    _reading: asyncio.Task[None] | None = None

    @ws_authenticated
    async def get(self, *args: str, **kwargs: str) -> None:
        await self.authorize("read", "aifarm:live")
        await super().get(*args, **kwargs)

    @property
    def ping_interval(self) -> float:
        """Seconds. Jupyter's own value is in milliseconds, where Tornado wants seconds."""
        return PING_SECONDS

    @property
    def ping_timeout(self) -> float:
        return PING_SECONDS

    async def open(self, *args: str, **kwargs: str) -> None:  # type: ignore[override]
        self.set_nodelay(True)
        try:
            address = self.address
        except web.HTTPError as error:
            self._refuse(error.log_message or "")
            return
        server, token = address.url, address.token
        try:
            self._beyond = await self._reach(address)
        except (OSError, WebSocketException) as error:
            address.turn(server)
            if isinstance(error, InvalidStatus) and error.response.status_code == 401:
                self.extension.renew_token(token)  # the page tries again
            self._refuse(f"The farm at {server} does not answer.")
            return
        self._reading = asyncio.create_task(self._read(self._beyond))

    async def on_message(self, message: str | bytes) -> None:  # type: ignore[override]
        if self._beyond is not None:
            with suppress(ConnectionClosed):
                await self._beyond.send(message)

    def on_close(self) -> None:
        super().on_close()
        if self._reading is not None:
            self._reading.cancel()

    async def _reach(self, address: Address) -> ClientConnection:
        return await connect(
            f"{address.url.replace('http', 'ws', 1)}/api/v2/live",
            additional_headers={"Authorization": f"Bearer {address.token}"},
            max_size=MAX_MESSAGE,
            ssl=self.extension.tls if address.url.startswith("https") else None,
            proxy=None if address.on_loopback else True,
        )

    async def _read(self, beyond: ClientConnection) -> None:
        try:
            async for frame in beyond:
                await self.write_message(frame, isinstance(frame, bytes))
        except (ConnectionClosed, WebSocketClosedError, StreamClosedError):
            pass
        finally:
            self.close(1012, "The farm's connection ended.")
            await beyond.close()

    def _refuse(self, reason: str) -> None:
        self.close(1013, reason.encode()[:120].decode(errors="ignore"))


def _without_jupyters(query: str) -> str:
    parts = [part for part in query.split("&") if part and part.split("=")[0] not in JUPYTERS]
    return f"?{'&'.join(parts)}" if parts else ""
