"""The Tornado application of a standalone server."""

from functools import partial

from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

from aifarm.web.bind import METHODS, FarmHandler, UnknownRoute, handlers, pattern
from aifarm.web.http import Host
from aifarm.web.monitor import Monitor
from aifarm.web.routes import ROUTES
from aifarm.web.sockets import AgentSocket, LiveSocket
from aifarm.wire.agent import MAX_MESSAGE

PING_SECONDS = 10
"""A peer that does not answer within two of them is gone (FAULTS row 10)."""


def application(host: Host) -> Application:
    """Every route and socket over `host`."""
    arguments = {"host": host}
    return Application(
        [
            ("/", AgentSocket, arguments),
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
    if isinstance(handler, FarmHandler) and not isinstance(handler, WebSocketHandler):
        path = next((route.path for route in handler.methods.values()), "")
        method = handler.request.method if handler.request.method in METHODS else ""
        monitor.answered(method, path, handler.get_status(), handler.request.request_time())
