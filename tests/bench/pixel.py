"""From a step in the worker to its pixel in JupyterLab: training process, agent, farm, Jupyter
server, browser, all of them real and on this machine."""

from playwright.sync_api import Page

from aifarm import Task
from bench.browser import lab_page, watch
from bench.farm import bare
from bench.stats import Figure, percentile
from lab.conftest import Lab

RATE, SECONDS, GOAL = 10, 20.0, 0.300
LOOP = f"""
import time

import aifarm.train as at

run = at.current()
for step in range(1, 1_000_000):
    run.report(loss=1 / step)
    if run.should_stop():
        break
    time.sleep({1 / RATE})
"""
STEP = ".af-task .u-legend .u-value"
"""Where the chart says which step is its latest."""
HEAR = """(url) => {
  const place = document.body.appendChild(document.createElement("p"));
  place.id = "news";
  place.setAttribute("style", "position:fixed;left:0;top:0;z-index:9999");
  const socket = new WebSocket(url);
  socket.onmessage = (message) => { place.textContent = message.data; };
}"""


def _ours(lab: Lab, page: Page) -> list[float]:
    """Seconds of each step until it, or a later one, was on the screen."""
    with lab.connect() as farm:
        package = farm.publish(LOOP, name="ticking", kind="script")
        task = farm.submit(package=package, title="Ticking")
        page.locator("#aifarm-panel").get_by_role("link", name="Ticking").first.click()
        page.wait_for_selector(".af-task .uplot")
        seen = watch(page, STEP, SECONDS)
        reported = _reported(task)
        task.stop()
        task.wait()
    shown = [(int(digits), at) for text, at in seen if (digits := text.replace(",", "")).isdigit()]
    began, ended = shown[0][0] + 1, shown[-1][0]  # the first stood there when the watching began
    return [
        next(at for number, at in shown if number >= step) - reported[step]
        for step in range(began, ended + 1)
    ]


def _reported(task: Task) -> dict[int, float]:
    """When the worker reported each step: its own clock, which is the browser's too."""
    history = task.metrics("loss", points=None)["loss"]
    return {int(s): float(t) for s, t in zip(history["step"], history["time"], strict=True) if t}


def _raw(page: Page) -> list[float]:
    """The same for what a bare Tornado says, put into the same page as text."""
    with bare() as (port, _):
        page.evaluate(HEAR, f"ws://127.0.0.1:{port}/news?rate={RATE}")
        seen = watch(page, "#news", SECONDS / 2)
    return [at - float(text.split()[1]) for text, at in seen[1:]]


def run() -> list[Figure]:
    with lab_page() as (lab, page):
        ours, raw = _ours(lab, page), _raw(page)
    p95 = percentile(ours, 95)
    what = "a step in the worker → pixel in JupyterLab"
    note = f"of {len(ours)} steps, {RATE} a second"
    limit = "a bare Tornado socket → text in the same page"
    return [
        Figure("pixel", f"{what}, p50", percentile(ours, 50) * 1e3, "ms", note=note),
        Figure("pixel", f"{what}, p95", p95 * 1e3, "ms", f"<= {GOAL * 1e3:.0f}", p95 <= GOAL, note),
        Figure("pixel", f"{what}, most", max(ours) * 1e3, "ms", note=note),
        Figure("pixel", f"{limit}, p95", percentile(raw, 95) * 1e3, "ms", note="the raw limit"),
    ]
