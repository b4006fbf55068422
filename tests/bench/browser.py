"""A real JupyterLab in a real Chromium, as something to measure."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Browser, Page, sync_playwright

from bench.farm import WORKSPACE
from bench.stats import Unmeasured
from lab.conftest import CHROMIUM, FLAGS, PATIENCE, Lab

WATCH = """([selector, name]) => {
  // [text, milliseconds since the epoch]. What stands there when a frame begins is on the screen
  // when the next one does.
  const seen = (window[name] = []);
  let shown, fresh;
  const look = () => {
    if (fresh !== undefined) seen.push([fresh, Date.now()]);
    const text = document.querySelector(selector)?.textContent;
    fresh = text === shown ? undefined : text;
    shown = text;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""


@contextmanager
def browser() -> Iterator[Browser]:
    """Raises Unmeasured where there is none."""
    if CHROMIUM is None:
        raise Unmeasured("it needs Chromium (apt install chromium).")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield running
        finally:
            running.close()


@contextmanager
def lab_page(
    *options: str, prepare: Callable[[Path], None] = lambda _: None
) -> Iterator[tuple[Lab, Page]]:
    """Lab has started, and its page and the panel in it are open. `prepare` fills the home folder
    before."""
    with browser() as running, tempfile.TemporaryDirectory(dir=WORKSPACE) as folder:
        lab = Lab(Path(folder).resolve())
        prepare(lab.home)
        lab.start(*options)
        try:
            page = running.new_page(viewport={"width": 1300, "height": 900})
            page.set_default_timeout(PATIENCE)
            page.goto(f"{lab.url}/lab?token={lab.token}&reset")
            page.click("[data-id=aifarm-panel]")
            page.wait_for_selector("#aifarm-panel .af-machines")
            yield lab, page
            page.close()
        finally:
            lab.stop()


def show_runs(page: Page) -> None:
    """Opens the table of runs, by the panel's button."""
    page.locator("#aifarm-panel").get_by_role("button", name="Runs").click()
    page.wait_for_function("document.querySelector('.af-runs')")


def watch(page: Page, selector: str, seconds: float) -> list[tuple[str, float]]:
    """The texts of an element over `seconds`, each with the time (seconds since the epoch) by
    which it was on the screen."""
    page.evaluate(WATCH, [selector, "aifarmSeen"])
    page.wait_for_timeout(seconds * 1e3)
    seen: list[list[Any]] = page.evaluate("window.aifarmSeen")
    return [(text, at / 1e3) for text, at in seen if text]


def cpu_seconds() -> float:
    """Processor time that the browser, all its processes, has used so far."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            if "chrom" in process.name():
                total += sum(process.cpu_times()[:2])
        except psutil.NoSuchProcess:
            continue
    return total
