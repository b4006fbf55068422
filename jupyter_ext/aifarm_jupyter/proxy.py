"""The farm's REST and live feed under Jupyter's own address, with Jupyter's own log-in.

The farm's token stays on this side. What passes is an allowlist; the agents' socket, tokens and
the farm's own pages are not on it.
"""

import asyncio
import http
import json
import logging
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.extension.handler import ExtensionHandlerMixin
from tornado import web
from tornado.escape import url_unescape
from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError, WebSocketHandler
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from aifarm.sdk.config import Address

if TYPE_CHECKING:
    from aifarm_jupyter.extension import AIFarm

log = logging.getLogger(__name__)

ALLOWED = re.compile(
    r"^(models|api/v2/(tasks|clients|packages|metrics|data|events|system|token))(/|$)"
)
"""What is passed on, by the first parts of its path."""

ASKED = ("Accept", "Content-Type", "Idempotency-Key", "Range", "X-API-Version", "If-None-Match")
ANSWERED = (
    "Content-Type",
    "Content-Length",
    "Content-Disposition",
    "Content-Range",
    "Accept-Ranges",
    "ETag",
    "Link",
    "Retry-After",
    "X-API-Version",
    "X-Total-Count",
    "X-Page-Count",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
)
ACTIONS = {"GET": "read", "HEAD": "read"}
"""What Jupyter's authorizer is asked; everything else is "write"."""

MAX_MESSAGE = 8 << 20
PING_SECONDS = 10.0


class FarmHandler(ExtensionHandlerMixin):  # type: ignore[misc]
    """Common to both: the extension, its farm, and what the authorizer is asked."""

    @property
    def extension(self) -> "AIFarm":
        app: AIFarm = self.settings["aifarm"]
        return app

    @property
    def address(self) -> Address:
        """Raises the 503 that says why there is no farm."""
        found = self.extension.farm.address
        if found is None:
            reason = self.extension.farm.problem or "The farm is starting."
            raise web.HTTPError(503, reason)
        return found

    async def authorize(self, action: str, resource: str) -> None:
        """Raises 403. Asked directly: the decorator would keep the first subclass's resource."""
        allowed = self.authorizer.is_authorized(self, self.current_user, action, resource)
        if asyncio.iscoroutine(allowed):
            allowed = await allowed
        if not allowed:
            raise web.HTTPError(403, f"You may not {action} {resource}.")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """In the farm's envelope, so that a page reads one kind of error."""
        raised = kwargs.get("exc_info", (None, None, None))[1]
        message = getattr(raised, "log_message", None) or http.HTTPStatus(status_code).phrase
        code = {404: "NOT_FOUND", 403: "FORBIDDEN", 503: "SERVICE_UNAVAILABLE"}.get(status_code)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"error": {"code": code or "JUPYTER", "message": message}}))


class RestProxy(FarmHandler, APIHandler):
    """One request, passed on and answered piece by piece."""

    @web.authenticated
    async def get(self, _: str) -> None:
        # As it came: decoded and put together again it might name another place.
        await self._pass_on(self.request.path[len(self.base_url) + len("aifarm/") :])

    head = post = put = patch = delete = get

    async def _pass_on(self, path: str) -> None:
        found = ALLOWED.match(path)
        components = url_unescape(path, plus=False).split("/")
        if found is None or any(one in ("", ".", "..") for one in components):
            raise web.HTTPError(404)
        method = self.request.method or "GET"
        await self.authorize(ACTIONS.get(method, "write"), f"aifarm:{found[2] or found[1]}")
        address = self.address
        headers = {
            name: self.request.headers[name] for name in ASKED if name in self.request.headers
        }
        headers["Authorization"] = f"Bearer {address.token}"
        query = f"?{self.request.query}" if self.request.query else ""
        client: httpx.AsyncClient = self.extension.client
        farm = httpx.URL(address.url)
        url = farm.copy_with(raw_path=f"{farm.path.rstrip('/')}/{path}{query}".encode())
        try:
            asked = client.build_request(
                method, url, headers=headers, content=self.request.body or None
            )
            answer = await client.send(asked, stream=True)
        except httpx.HTTPError as error:
            raise web.HTTPError(502, f"The farm at {address.url} does not answer.") from error
        try:
            await self._answer(answer)
        except StreamClosedError:
            pass  # the page has gone
        finally:
            await answer.aclose()

    async def _answer(self, answer: httpx.Response) -> None:
        self.set_status(answer.status_code)
        for name in ANSWERED:
            if name in answer.headers:
                self.set_header(name, answer.headers[name])
        if self.request.method == "HEAD" or answer.status_code in (204, 304):
            self.finish()
            return
        async for piece in answer.aiter_raw():
            self.write(piece)
            await self.flush()  # waits for a slow reader
        self.finish()


class LiveProxy(FarmHandler, WebSocketMixin, WebSocketHandler, JupyterHandler):  # type: ignore[misc]
    """The live feed: each frame of one side goes to the other."""

    _beyond: ClientConnection | None = None
    _reading: asyncio.Task[None] | None = None

    @ws_authenticated
    async def get(self, *args: Any, **kwargs: Any) -> None:
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
            self._beyond = await connect(
                f"{address.url.replace('http', 'ws', 1)}/api/v2/live",
                additional_headers={"Authorization": f"Bearer {address.token}"},
                max_size=MAX_MESSAGE,
                proxy=None if address.on_loopback else True,
            )
        except (web.HTTPError, OSError, WebSocketException) as error:
            words = getattr(error, "log_message", None) or "The farm does not answer."
            self.close(1013, words[:120])
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

    async def _read(self, beyond: ClientConnection) -> None:
        try:
            async for frame in beyond:
                await self.write_message(frame, isinstance(frame, bytes))
        except (ConnectionClosed, WebSocketClosedError, StreamClosedError):
            pass
        finally:
            self.close(1012, "the farm's connection ended")
            await beyond.close()
