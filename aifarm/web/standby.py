"""What a server says while it does not lead the farm."""

from tornado.web import Application

import aifarm
from aifarm.app.errors import Unavailable
from aifarm.web.handler import FarmHandler
from aifarm.wire import rest
from aifarm.wire.codec import encode


def standby() -> Application:
    """Answers that another server leads."""
    return Application([(r".*", StandbyHandler)], log_function=lambda handler: None)


class StandbyHandler(FarmHandler):
    """It lives, so its health is said with 200; the farm itself is elsewhere, or nowhere."""

    def initialize(self) -> None:  # type: ignore[override]
        """It needs no farm."""
        self.received = 0

    def accept(self) -> None:
        if self.request.path != "/api/health":
            words = "This server stands by: another one leads the farm, or will soon."
            raise Unavailable(words)

    async def serve(self, params: dict[str, str]) -> None:
        if self.refusal is not None:
            self.answer_error(self.refusal)
            return
        self.set_header("Content-Type", "application/json")
        self.finish(encode(rest.Health("standby", aifarm.__version__)))

    async def keep(self, chunk: bytes) -> None:
        """Nobody asks for it."""
