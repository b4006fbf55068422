"""50 tasks that all report each second, in the table of runs and the panel of one JupyterLab: what
that costs the browser and the servers."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Any, NamedTuple

import psutil
from playwright.sync_api import Page

from aifarm.packages import pack_source
from aifarm.wire.agent import TaskProgress
from bench.browser import browser, cpu_seconds, lab_page, show_runs
from bench.farm import Server, bare, server
from bench.ingest import Reporter
from bench.stats import Figure
from integration.running import MODEL

TASKS, SECONDS = 50, 15.0
ALL_RUN = f"""() =>
  document.querySelectorAll(".af-runs tbody .af-badge.af-running").length === {TASKS}"""
COUNT = """(milliseconds) => new Promise((done) => {
  // Rows whose progress a frame shows otherwise than the one before.
  const began = performance.now();
  const rows = () => [...document.querySelectorAll(".af-runs tbody .af-progress")];
  const texts = () => rows().map((row) => row.textContent);
  let shown = texts(), changed = 0;
  const look = () => {
    const now = texts();
    changed += now.filter((text, row) => text !== shown[row]).length;
    shown = now;
    if (performance.now() - began < milliseconds) requestAnimationFrame(look);
    else done((changed * 1000) / (performance.now() - began));
  };
  requestAnimationFrame(look);
})"""
HEAR = """([url, tasks]) => {
  const place = () => document.body.appendChild(document.createElement("p"));
  const places = Array.from({ length: tasks }, place);
  const socket = new WebSocket(url);
  socket.onmessage = ({ data }) => { places[parseInt(data) % tasks].textContent = data; };
}"""


class Watched(Reporter):
    """One whose progress can be seen: another percent with each report."""

    interval = 1.0

    def _message(self, step: int, **of: Any) -> TaskProgress:
        values = {"loss": 1.0 / (step + 1), "accuracy": 1.0 - 1.0 / (step + 2)}
        return TaskProgress(
            progress=float(step % 100), metrics=values, points=[(step, time.time(), values)], **of
        )


class Shares(NamedTuple):
    """Of one core, 0 to 1 and above."""

    browser: float
    farm: float
    jupyter: float


async def _report(farm: Server, ended: threading.Event) -> None:
    reporters = []
    for number in range(TASKS):
        reporters.append(asyncio.create_task(Watched(farm, number, 1).run(inf)))
        await asyncio.sleep(Watched.interval / TASKS)  # not all of them in one moment
    await asyncio.to_thread(ended.wait)
    for reporter in reporters:
        reporter.cancel()
    await asyncio.gather(*reporters, return_exceptions=True)


@contextmanager
def _reporting(farm: Server) -> Iterator[None]:
    ended = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_report(farm, ended)))
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _shares(page: Page, *cpu: Callable[[], float]) -> list[float]:
    """What each used over some seconds, of one core."""
    used, began = [one() for one in cpu], time.perf_counter()
    page.wait_for_timeout(SECONDS * 1e3)
    seconds = time.perf_counter() - began
    return [(one() - before) / seconds for one, before in zip(cpu, used, strict=True)]


def _ours(farm: Server) -> tuple[Shares, float]:
    """(shares, rows painted anew a second)."""
    farm.put_package("model", "1", pack_source(MODEL, "model", "1"))
    for _ in range(TASKS):
        farm.post("/api/v2/tasks", {"name": "model", "version": "1"})
    attached = (f"--AIFarm.url={farm.url}", f"--AIFarm.token={farm.admin}")
    with lab_page(*attached) as (lab, page):
        show_runs(page)
        with _reporting(farm):
            page.wait_for_function(ALL_RUN)
            assert lab.process is not None
            jupyter = psutil.Process(lab.process.pid)
            shares = _shares(
                page, cpu_seconds, farm.cpu_seconds, lambda: sum(jupyter.cpu_times()[:2])
            )
            return Shares(*shares), page.evaluate(COUNT, SECONDS * 1e3)


def _raw() -> list[float]:
    """The shares of browser and server where a bare Tornado feeds a page of as many texts."""
    with browser() as running, bare() as (port, process):
        page = running.new_page()
        page.evaluate(HEAR, [f"ws://127.0.0.1:{port}/news?rate={TASKS}", TASKS])
        return _shares(page, cpu_seconds, lambda: sum(process.cpu_times()[:2]))


def run() -> list[Figure]:
    with server() as farm:
        shares, painted = _ours(farm)
    browsers, bares = _raw()
    what = f"{TASKS} tasks live in JupyterLab, a report a second each"
    limit = f"a bare Tornado socket that changes {TASKS} texts a second"

    def share(of: str, value: float, note: str) -> Figure:
        return Figure("live50", f"{what}: the {of}'s share of a core", value * 100, "%", note=note)

    return [
        share("browser", shares.browser, f"{limit}: {browsers * 100:.1f} %"),
        share("farm server", shares.farm, f"{limit}: {bares * 100:.1f} %"),
        share("Jupyter server", shares.jupyter, "it passes the live feed on"),
        Figure("live50", f"{what}: rows painted anew", painted, "a second", note=f"of {TASKS}"),
    ]
