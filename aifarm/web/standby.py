"""What a server says while it does not lead the farm."""

from tornado.httputil import HTTPConnection, HTTPMessageDelegate, HTTPServerConnectionDelegate
from tornado.web import Application

import aifarm
from aifarm.app.errors import Unavailable
from aifarm.web.bind import FarmHandler
from aifarm.wire import rest
from aifarm.wire.codec import encode


class Front(HTTPServerConnectionDelegate):
    """Where requests come in: each goes to the application that answers `now`."""

    def __init__(self) -> None:
        self.now = standby()

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> HTTPMessageDelegate:
        return self.now.start_request(server_conn, request_conn)


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
