"""The Tornado application and HTTP server of a standalone farm."""

from functools import partial
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.iostream import IOStream
from tornado.routing import PathMatches, Router, Rule
from tornado.web import Application, RequestHandler

from aifarm.app.errors import InvalidRequest
from aifarm.web.assets import Asset
from aifarm.web.bind import BoundHandler, UnknownRoute, handlers, pattern
from aifarm.web.handler import METHODS, envelope
from aifarm.web.http import Host
from aifarm.web.monitor import Monitor
from aifarm.web.routes import ROUTES
from aifarm.web.sockets import AgentSocket, LiveSocket
from aifarm.web.standby import standby
from aifarm.wire.agent import MAX_MESSAGE
from aifarm.wire.requests import MAX_BODY

MAX_HEADERS = 64 << 10
IDLE_SECONDS = 300
BODY_SECONDS = 600
"""Bytes of one request's headers; how long a connection may rest, and a body may take."""

BARE = b"HTTP/1.1 400 Bad Request\r\n\r\n"
"""What Tornado answers to what is not HTTP, before any handler is asked."""

PING_SECONDS = 10
"""A peer that does not answer within two of them is gone (FAULTS row 10)."""


class ByAgents(PathMatches):
    """A path, where a WebSocket is asked for."""

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        return super().match(request) if "Upgrade" in request.headers else None


class ByBrowsers(PathMatches):
    """A path, where its page is asked for."""

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        if "Upgrade" in request.headers or request.method not in ("GET", "HEAD"):
            return None
        return super().match(request)


def application(host: Host) -> Application:
    """Every route and socket over `host`."""
    arguments = {"host": host}
    return Application(
        [
            Rule(ByAgents("/$"), AgentSocket, arguments),
            Rule(ByBrowsers("/()$"), Asset, {**arguments, "default_filename": "index.html"}),
            (r"/static/(.*)", Asset, arguments),
            (pattern("/api/v2/live"), LiveSocket, arguments),
            *handlers(ROUTES, host),
        ],
        default_handler_class=UnknownRoute,
        default_handler_args=arguments,
        websocket_max_message_size=MAX_MESSAGE,
        websocket_ping_interval=PING_SECONDS,
        websocket_ping_timeout=PING_SECONDS,
        log_function=partial(_measure, host.monitor),
    )


def _measure(monitor: Monitor, handler: RequestHandler) -> None:
    if isinstance(handler, BoundHandler | UnknownRoute):
        routes = handler.methods.values() if isinstance(handler, BoundHandler) else ()
        path = next((route.path for route in routes), "")
        method = handler.request.method if handler.request.method in METHODS else ""
        monitor.answered(method or "", path, handler.get_status(), handler.request.request_time())


class Front(Router):
    """Where requests come in: each goes to the farm, or to a standby, as it is at that moment."""

    def __init__(self) -> None:
        self.stand_by()

    def lead(self, host: Host) -> None:
        self.host: Host | None = host
        self._now = application(host)

    def stand_by(self) -> None:
        self.host = None
        self._now = standby()

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate:
        return self._now.find_handler(request, **kwargs)


class FarmServer(HTTPServer):
    """Serves what is behind `front`, within limits; what is not HTTP gets the envelope too."""

    front: Front

    def initialize(self, front: Front, **options: Any) -> None:
        self.front = front
        super().initialize(
            front,
            max_body_size=MAX_BODY,  # of handlers that do not count for themselves
            max_buffer_size=2 * MAX_MESSAGE,
            max_header_size=MAX_HEADERS,
            idle_connection_timeout=IDLE_SECONDS,
            body_timeout=BODY_SECONDS,
            **options,
        )

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        plain = stream.write

        def write(data: bytes | memoryview) -> Any:
            return plain(self._refusal(str(address[0])) if data == BARE else data)

        stream.write = write  # type: ignore[method-assign]
        super().handle_stream(stream, address)

    def _refusal(self, address: str) -> bytes:
        words = "That is not valid HTTP/1.1: its first line, a header or a length is wrong."
        body = envelope(InvalidRequest(words, field="headers", expected="a valid HTTP/1.1 request"))
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
            "X-API-Version": "1.0",
        }
        if self.front.host is not None:
            headers |= self.front.host.facade.limits.open(address).headers
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 400 Bad Request\r\n{lines}\r\n".encode() + body
