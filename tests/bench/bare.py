"""Tornado with nothing behind it: the raw limit of a REST call, of a connected socket, and of news
that a page shows. Run as a process: bare.py PORT."""

import asyncio
import sys
import time
from contextlib import suppress

from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler


class Answer(RequestHandler):
    def get(self) -> None:
        self.finish(b"{}")


class Socket(WebSocketHandler):
    def on_message(self, message: str | bytes) -> None: ...


class News(WebSocketHandler):
    """Says "NUMBER SECONDS", seconds since the epoch, `rate` times a second."""

    def check_origin(self, origin: str) -> bool:
        return True  # a page of another port listens

    async def open(self, *_: str, **__: str) -> None:
        self.set_nodelay(True)
        self._telling = asyncio.create_task(self._tell(float(self.get_query_argument("rate"))))

    def on_message(self, message: str | bytes) -> None: ...

    def on_close(self) -> None:
        self._telling.cancel()

    async def _tell(self, rate: float) -> None:
        began, number = time.perf_counter(), 0
        with suppress(WebSocketClosedError):
            while True:
                number += 1
                await self.write_message(f"{number} {time.time()}")
                await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))


async def main() -> None:
    handlers = [("/", Answer), ("/socket", Socket), ("/news", News)]
    Application(handlers).listen(int(sys.argv[1]), "127.0.0.1")
    print("listening", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
