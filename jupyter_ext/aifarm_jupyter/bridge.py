"""A farm by way of the kernel, for a page whose server has no extension: other programs that show
notebooks, and a farm that is not the server's own.

The widget's messages carry what the page would else ask the extension: the front end itself, REST,
and the frames of the live feed.
"""

import json
import ssl
from collections.abc import Callable
from contextlib import suppress
from importlib.resources import files
from threading import Thread
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection, connect

from aifarm.sdk.config import Address
from aifarm_jupyter.actions import asked

Message = dict[str, Any]

FRONT = (".js", ".css")
MAX_MESSAGE = 16 << 20
FEEDS = 4
"""Live feeds of one widget: pages that were closed do not say so."""


def front() -> dict[str, str]:
    """The modules and style sheets of the front end, by their names beside each other."""
    static = files("aifarm.web") / "static"
    folders = (("", static), ("vendor/", static / "vendor"))
    return {
        f"{before}{file.name}": file.read_text(encoding="utf-8")
        for before, folder in folders
        for file in folder.iterdir()
        if file.name.endswith(FRONT)
    }


class Bridge:
    """Of one widget: `heard` takes what its page says, `send` tells it, from any thread."""

    def __init__(self, address: Address, send: Callable[[Message], None]) -> None:
        self._address = address
        self._send = send
        # One trust store, as the SDK's: the system's, or what SSL_CERT_FILE names.
        secure = any(url.startswith("https") for url in (address.url, *address.others))
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {address.token}"},
            timeout=60.0,
            verify=ssl.create_default_context() if secure else False,
            # A proxy knows nothing of this machine's loopback.
            trust_env=not address.on_loopback,
        )
        self._feeds: dict[str, ClientConnection] = {}

    def heard(self, message: Message) -> None:
        """Returns at once; what it asks for is done aside."""
        match message:
            case {"type": "front"}:
                self._send({"type": "front", "files": front()})
            case {"type": "ask", "id": str(name), "method": str(method), "path": str(path)}:
                self._aside(self._ask, name, method, path, message.get("body"))
            case {"type": "open", "id": str(name)}:
                self._aside(self._follow, name)
            case {"type": "frame", "id": str(name), "text": str(text)} if name in self._feeds:
                with suppress(ConnectionClosed):  # the page is told where it ends
                    self._feeds[name].send(text)
            case {"type": "close", "id": str(name)} if name in self._feeds:
                self._aside(self._feeds[name].close)

    def close(self) -> None:
        for feed in list(self._feeds.values()):
            self._aside(feed.close)
        self._client.close()

    def _aside(self, work: Callable[..., None], *arguments: object) -> None:
        Thread(target=work, args=arguments, name="aifarm-bridge", daemon=True).start()

    def _ask(self, name: str, method: str, path: str, body: str | None) -> None:
        status, text = self._answer(method, path, body)
        self._send({"type": "answer", "id": name, "status": status, "text": text})

    def _answer(self, method: str, path: str, body: str | None) -> tuple[int, str]:
        """Status and body, the farm's or one in its envelope."""
        sent = (body or "").encode()
        if asked(method, path.partition("?")[0].removeprefix("/"), sent) is None:
            return 404, _envelope("NOT_FOUND", "This is not passed on.")
        kind = {"Content-Type": "application/json"} if body is not None else {}
        address = self._address
        for _ in (address.url, *address.others):
            server = address.url
            farm = httpx.URL(server)
            url = farm.copy_with(raw_path=f"{farm.path.rstrip('/')}{path}".encode())
            try:
                answer = self._client.request(method, url, content=body, headers=kind)
            except httpx.HTTPError as error:
                address.turn(server)
                if not isinstance(error, httpx.ConnectError):
                    break  # only what was never sent may be sent again
            else:
                if answer.status_code == 503:
                    address.turn(server)
                return answer.status_code, answer.text
        return 502, _envelope("UNREACHABLE", f"The farm at {server} does not answer.")

    def _follow(self, name: str) -> None:
        address = self._address
        server = address.url
        try:
            with connect(
                f"{server.replace('http', 'ws', 1)}/api/v2/live",
                additional_headers={"Authorization": f"Bearer {address.token}"},
                proxy=None if address.on_loopback else True,
                compression=None,
                max_size=MAX_MESSAGE,
            ) as feed:
                while len(self._feeds) >= FEEDS:
                    self._aside(self._feeds.pop(next(iter(self._feeds))).close)
                self._feeds[name] = feed
                self._send({"type": "opened", "id": name})
                for frame in feed:
                    self._send({"type": "frame", "id": name, "text": frame})
        except (OSError, WebSocketException):
            address.turn(server)  # the page tries again
        finally:
            self._feeds.pop(name, None)
            self._send({"type": "closed", "id": name})


def _envelope(code: str, message: str) -> str:
    return json.dumps({"error": {"code": code, "message": message}})
