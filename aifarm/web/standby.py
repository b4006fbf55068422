"""What a server says while it does not lead the farm."""

from typing import Any

from tornado.httputil import HTTPMessageDelegate, HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application

import aifarm
from aifarm.app.errors import Unavailable
from aifarm.web.bind import FarmHandler
from aifarm.wire import rest
from aifarm.wire.codec import encode


class Front(Router):
    """Where requests come in: each goes to the application that answers `now`."""

    def __init__(self) -> None:
        self.now = standby()

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> HTTPMessageDelegate:
        return self.now.find_handler(request, **kwargs)


def standby() -> Application:
    """Answers that another server leads."""
    return Application([(r".*", StandbyHandler)], log_function=lambda handler: None)


class StandbyHandler(FarmHandler):
    """It lives, so its health is said with 200; the farm itself is elsewhere, or nowhere."""

    def initialize(self) -> None:  # type: ignore[override]
        """It needs no farm."""

    def prepare(self) -> None:
        if self.request.path == "/api/health":
            self.set_header("Content-Type", "application/json")
            self.finish(encode(rest.Health("standby", aifarm.__version__)))
        else:
            self.answer_error(
                Unavailable("This server stands by: another one leads the farm, or will soon.")
            )
