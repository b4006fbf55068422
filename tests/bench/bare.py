"""Tornado with nothing behind it: the raw limit of a REST call, and of a connected socket. Run as a
process: bare.py PORT."""

import asyncio
import sys

from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler


class Answer(RequestHandler):
    def get(self) -> None:
        self.finish(b"{}")


class Socket(WebSocketHandler):
    def on_message(self, message: str | bytes) -> None: ...


async def main() -> None:
    Application([("/", Answer), ("/socket", Socket)]).listen(int(sys.argv[1]), "127.0.0.1")
    print("listening", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
