"""What lies between a page and its farm, by way of the test: cut, held back, silent."""

import json
import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import APIResponse, Page, Route, WebSocketRoute, expect

Messages = list[dict[str, Any]]

AWAY = "The farm does not answer; what you see may be old."


class Line:
    """A page's live socket. `told` may change what the farm says; `opened` counts connections."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._away = self._silent = False
        self._held: dict[str, list[str | bytes]] = {}
        self._routes: list[WebSocketRoute] = []
        self.opened = 0
        self.told: Callable[[Messages], Messages] = lambda messages: messages
        page.route_web_socket(re.compile(r"/api/v2/live$"), self._open)

    def cut(self) -> None:
        """Returns when the page has seen that the farm is out of reach."""
        self._away = True
        for route in self._routes:
            route.close()
        expect(self._page.get_by_text(AWAY)).to_be_visible()

    def mend(self) -> None:
        """Returns when the page has found its way back."""
        self._away = False
        self._page.get_by_role("button", name="Try now").click()
        expect(self._page.get_by_text(AWAY)).to_be_hidden()

    def silence(self) -> None:
        """Nothing comes to the page any more, and nobody tells it that the connection is gone."""
        self._silent = self._away = True

    def hold(self, word: str) -> None:
        """Keeps back what the page says with this word in it."""
        self._held[word] = []

    def release(self, word: str) -> None:
        for frame in self._held.pop(word):
            self._routes[1].send(frame)

    def _open(self, here: WebSocketRoute) -> None:
        self.opened += 1
        if self._away:
            here.close()
            return
        beyond = here.connect_to_server()
        self._routes = [here, beyond]
        here.on_message(lambda frame: self._say(beyond, frame))
        beyond.on_message(lambda frame: None if self._silent else self._tell(here, frame))

    def _say(self, beyond: WebSocketRoute, frame: str | bytes) -> None:
        held = next((held for word, held in self._held.items() if word in str(frame)), None)
        if held is None:
            beyond.send(frame)
        else:
            held.append(frame)

    def _tell(self, here: WebSocketRoute, frame: str | bytes) -> None:
        here.send(json.dumps(self.told(json.loads(frame))))


class Late:
    """Answers of the farm that are made at once, and come to the page when they are released."""

    def __init__(self, page: Page, pattern: str) -> None:
        self._page = page
        self._answers: list[tuple[Route, APIResponse]] = []
        self._released = False
        page.route(re.compile(pattern), self._asked)

    def _asked(self, route: Route) -> None:
        if self._released:
            route.continue_()
        else:
            self._answers.append((route, route.fetch()))

    def until_made(self) -> None:
        """Returns when there is one."""
        while not self._answers:
            self._page.evaluate("() => new Promise(requestAnimationFrame)")

    def release(self) -> None:
        self._released = True
        for route, answer in self._answers:
            route.fulfill(response=answer)
