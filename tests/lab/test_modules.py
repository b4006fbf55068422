"""Modules of the front end alone, with sockets and a kernel of the test's own and a clock that it
turns."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from integration.running import RunningServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

FEED = """
async () => {
  const { Feed } = await import("/static/feed.js");
  window.sockets = [];
  class Fake extends EventTarget {
    readyState = 1;
    sent = [];
    closed = false;
    constructor() { super(); sockets.push(this); }
    send(text) { this.sent.push(JSON.parse(text).topics.join()); }
    close() { this.closed = true; }
    say(...messages) { this.onmessage({ data: JSON.stringify(messages) }); }
  }
  Fake.OPEN = 1;
  window.WebSocket = Fake;
  window.snapshot = { type: "snapshot", event: 1, tasks: [], clients: [], more: false };
  window.feed = new Feed("/live");
  window.joined = [];
  feed.addEventListener("joined", (event) => joined.push([...event.detail].join()));
  window.life = new AbortController();
}
"""


@pytest.fixture
def modules(server: RunningServer, page: Page) -> Page:
    """A page of the farm's own, with a clock that the test turns."""
    page.goto(server.url)
    page.clock.install()
    page.clock.pause_at("2100-01-01")
    return page


@pytest.fixture
def feed(modules: Page) -> Page:
    """`feed`, of `sockets` that say what the test says."""
    modules.evaluate(FEED)
    return modules


def do(page: Page, *lines: str) -> Any:
    """Runs statements in the page; the last one is an expression."""
    return page.evaluate(f"() => {{ {'; '.join(lines[:-1])}; return {lines[-1]} }}")


def test_a_view_that_opens_while_the_feed_waits_connects_it_once(feed: Page) -> None:
    do(feed, "feed.follow('farm', life.signal)", "sockets[0].onclose()", "feed.state")
    assert do(feed, "feed.follow('task:1', life.signal)", "sockets.length") == 2
    feed.clock.run_for(14_000)
    assert do(feed, "sockets.length") == 2


def test_a_socket_that_was_left_is_not_listened_to(feed: Page) -> None:
    do(feed, "feed.follow('farm', life.signal)", "sockets[0].onclose()", "feed.retry()")
    do(feed, "sockets[0].onopen()", "sockets[0].say(snapshot)", "sockets[0].onclose()")
    assert do(feed, "[sockets.length, sockets[0].sent.length, feed.state]") == [2, 0, "connecting"]


def test_a_view_that_is_gone_follows_nothing(feed: Page) -> None:
    do(feed, "feed.follow('farm', AbortSignal.abort())", "0")
    assert do(feed, "sockets.length") == 0


def test_topics_are_joined_when_the_farm_has_answered_for_them(feed: Page) -> None:
    do(feed, "feed.follow('farm', life.signal)", "sockets[0].onopen()", "0")
    do(feed, "feed.follow('task:1', life.signal)", "0")
    feed.clock.run_for(1)
    do(feed, "sockets[0].say(snapshot)", "0")
    assert do(feed, "joined") == ["farm"]
    feed.clock.run_for(1)
    assert do(feed, "sockets[0].sent") == ["farm", "farm,task:1"]
    do(feed, "sockets[0].say(snapshot)", "0")
    assert do(feed, "joined") == ["farm", "task:1"]


def test_a_quiet_connection_is_asked_and_left_where_it_does_not_answer(feed: Page) -> None:
    do(feed, "feed.follow('farm', life.signal)", "sockets[0].onopen()", "0")
    do(feed, "sockets[0].say(snapshot)", "0")
    feed.clock.run_for(60_000)
    assert do(feed, "sockets[0].sent.length") == 2
    do(feed, "sockets[0].say(snapshot)", "0")
    feed.clock.run_for(60_000)
    assert do(feed, "[feed.state, sockets.length]") == ["live", 1]
    feed.clock.run_for(14_000)
    assert do(feed, "sockets[0].closed")
    assert do(feed, "sockets.length") > 1


def test_a_kernel_that_does_not_answer_is_told_of(modules: Page) -> None:
    modules.evaluate(
        """async () => {
          const { kernelFarm } = await import("/static/kernel.js");
          const model = { send() {}, on() {}, off() {} };
          const life = new AbortController();
          const farm = kernelFarm(model, life.signal);
          farm.get("/token").catch((error) => (document.title = error.message));
        }"""
    )
    modules.clock.run_for(31_000)
    expect(modules).to_have_title("The kernel does not answer; it may be busy.")


def test_how_busy_machines_were_is_thinned_and_aligned_once_a_second(modules: Page) -> None:
    thinned, again, asked = modules.evaluate(
        """async () => {
          const { Usage } = await import("/static/usage.js");
          const { Curve } = await import("/static/curve.js");
          const feed = Object.assign(new EventTarget(), { clients: new Map() });
          const task = { id: "t", status: "running", attempt: 1, clients: ["ws1"] };
          const signal = new AbortController().signal;
          let asked = 0;
          const usage = new Usage({ feed }, task, signal, () => (asked += 1));
          const along = Curve.of({ name: "loss", step: [0, 1], time: [0, 100_000], value: [1, 0] });
          const beat = (second) => {
            const gpu = [{ id: 0, utilization: second % 100 }];
            const resources = { cpu: { usage: 40 }, gpu };
            const last_seen = new Date(second * 1000).toISOString();
            const detail = { id: "ws1", last_seen, resources };
            feed.dispatchEvent(new CustomEvent("client", { detail }));
          };
          for (let second = 10; second <= 90_000; second += 10) beat(second);
          const first = usage.read(along);
          beat(90_010);
          const again = usage.read(along) === first;
          window.later = () => [asked, usage.read(along).curves[0].time.at(-1)];
          const { time } = first.curves[0];
          return [[time.length, time[0], time.at(-1)], again, asked];
        }"""
    )
    assert thinned[0] < 4000
    assert thinned[1:] == [80, 90_000]
    assert again
    modules.clock.run_for(1000)
    assert do(modules, "later()") == [asked + 1, 90_010]


def test_an_axis_names_its_ticks_as_they_are(modules: Page) -> None:
    ticks = [0, 0.00025, 0.00075, 0.1 + 0.2, 1500, 1_250_000]
    names = modules.evaluate(
        "async (ticks) => ticks.map((await import('/static/format.js')).tick)", ticks
    )
    assert names == ["0", "2.5e-4", "7.5e-4", "0.3", "1,500", "1.25e6"]


def test_time_left_is_that_of_the_present_pace(modules: Page) -> None:
    def left(**task: Any) -> float | None:
        seen = {"id": "1", "status": "running", "attempt": 1, "from_checkpoint": None}
        began = {"started_at": "2099-12-31T23:50:00Z"}  # 600 s ago
        found: float | None = modules.evaluate(
            "async (task) => (await import('/static/format.js')).remaining(task)",
            {**seen, **began, **task},
        )
        return found

    assert left(progress=10) == pytest.approx(5400)
    modules.clock.run_for(20_000)
    assert left(progress=20) == pytest.approx(160)  # it had waited before
    assert left(progress=20, status="paused") is None
    assert left(progress=20, attempt=2) is None  # nobody knows its pace yet
    modules.clock.run_for(10_000)
    assert left(progress=30, attempt=2) == pytest.approx(70)
    assert left(id="2", progress=50, from_checkpoint="c") is None
