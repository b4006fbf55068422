"""What a widget runs first: how it finds the way to its farm, in a page that tells it this and
that."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

import aifarm_jupyter
from aifarm.web.assets import FOLDER

pytestmark = pytest.mark.slow

ADDRESS = "http://127.0.0.1:1"
FARM = "http://farm.invalid"
LOADER = Path(aifarm_jupyter.__file__).with_name("loader.js").read_text()

# In the place of the views: whose farm they were given.
VIEW = """
export const widgetView = (farm, el) => {
  el.textContent = farm.base ? "by the server" : "by the kernel";
  window.farm = farm;
};"""
FRONT = {
    "kernel.js": "export const kernelFarm = () => ({});",
    "widget.js": VIEW,
    "style.css": "",
    "vendor/uplot.css": "",
}

HOST = """
window.leave = {};
window.show = async (name, url, front) => {
  const el = document.body.appendChild(Object.assign(document.createElement("div"), { id: name }));
  const heard = new Set();
  const model = {
    get: (key) => ({ html: "a still picture", url })[key],
    on: (_, one) => heard.add(one),
    off: (_, one) => heard.delete(one),
    send: () => front && heard.forEach((one) => one({ type: "front", files: front })),
  };
  const loader = await import("/loader.js");
  window.leave[name] = await loader.default.render({ model, el });
};"""


class Host:
    """A page of a server that says `info` of its farm, None where it has no extension; what is
    asked below `held` waits."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.info: dict[str, Any] | None = None
        self.held = "nothing"
        self.waiting: list[Route] = []
        page.route("**/*", self._answer)
        page.goto(ADDRESS)

    def farm(self, state: str, url: str | None = None) -> None:
        self.info = {"state": state, "url": url}

    def widget(self, name: str, *, kernel: bool = True) -> Locator:
        """One of the farm's, in its place; `kernel`: whether its kernel answers."""
        self.page.evaluate("([...all]) => show(...all)", [name, FARM, FRONT if kernel else None])
        return self.page.locator(f"#{name}")

    def release(self) -> None:
        self.held = "nothing"
        for route in self.waiting:
            self._answer(route)

    def _answer(self, route: Route) -> None:
        path = route.request.url.removeprefix(ADDRESS)
        script = "text/javascript"
        if self.held in path:
            self.waiting.append(route)
        elif path == "/":
            route.fulfill(content_type="text/html", body=f"<body><script>{HOST}</script>")
        elif path == "/loader.js":
            route.fulfill(content_type=script, body=LOADER)
        elif path == "/aifarm/info" and self.info is not None:
            route.fulfill(content_type="application/json", body=json.dumps(self.info))
        elif path == "/aifarm/static/widget.js":
            route.fulfill(content_type=script, body=VIEW)
        elif path.startswith("/aifarm/static/"):
            route.fulfill(path=FOLDER / path.removeprefix("/aifarm/static/"))
        elif path.startswith("/aifarm/api/"):
            route.fulfill(content_type="application/json", body="{}")
        else:
            route.fulfill(status=404)


@pytest.fixture
def host(page: Page) -> Host:
    return Host(page)


def test_a_kernel_that_never_answers_keeps_no_other_widget_waiting(host: Host, page: Page) -> None:
    dead = host.widget("dead", kernel=False)
    expect(host.widget("live")).to_have_text("by the kernel")
    expect(dead).to_have_text("a still picture")
    expect(host.widget("after", kernel=False)).to_have_text("by the kernel")
    page.evaluate("leave.dead()")
    expect(dead).to_have_text("a still picture")
    page.faults.clear()  # type: ignore[attr-defined]  # it asked for the extension, in vain


def test_a_farm_that_starts_is_waited_for(host: Host, page: Page) -> None:
    host.farm("starting")
    with page.expect_response("**/aifarm/info"):
        shown = host.widget("early")
    host.farm("leading", FARM)
    expect(shown).to_have_text("by the server")


def test_a_farm_that_is_back_is_found_by_the_next_widget(host: Host) -> None:
    host.farm("away")
    expect(host.widget("first")).to_have_text("by the kernel")
    host.farm("leading", FARM)
    expect(host.widget("second")).to_have_text("by the server")


def test_another_farm_than_the_pages_own_is_the_kernels(host: Host) -> None:
    host.farm("attached", "http://another.invalid")
    expect(host.widget("other")).to_have_text("by the kernel")


def test_a_place_that_is_gone_is_left_alone(host: Host, page: Page) -> None:
    host.farm("attached", FARM)
    host.held = "widget.js"
    with page.expect_request("**/widget.js"):
        gone = host.widget("gone")
    page.evaluate("leave.gone()")
    stays = host.widget("stays")
    host.release()
    expect(stays).to_have_text("by the server")
    expect(gone).to_have_text("a still picture")


def test_a_log_in_in_another_tab_goes_on_here(host: Host, page: Page) -> None:
    host.farm("attached", FARM)
    expect(host.widget("card")).to_have_text("by the server")
    for token in ("first", "second"):
        page.evaluate(f"document.cookie = '_xsrf={token}'")
        with page.expect_request("**/api/v2/tasks") as asked:
            page.evaluate("farm.get('/tasks')")
        assert asked.value.headers["x-xsrftoken"] == token
