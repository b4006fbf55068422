"""A curve of 100,000 points, until it is drawn in JupyterLab."""

from pathlib import Path

from playwright.sync_api import Page

from aifarm.store import open_store
from bench.browser import lab_page, show_runs
from bench.history import add_points, record, task_id
from bench.stats import Figure, percentile
from lab.conftest import Lab

POINTS, RUNS, GOAL = 100_000, 8, 0.300
OPEN = """async (id) => {
  const before = new Set(document.querySelectorAll(".af-task"));
  const digits = (view) => /\\d/.test(view.querySelector(".u-legend .u-value")?.textContent ?? "");
  const views = () => [...document.querySelectorAll(".af-task")];
  const drawn = () => views().some((view) => !before.has(view) && digits(view));
  const frame = () => new Promise(requestAnimationFrame);
  const began = performance.now();
  document.querySelector(`.af-runs a[href="#/tasks/${id}"]`).click();
  while (!drawn()) await frame();
  await frame(); // what was there when the last frame began is on the screen
  return (performance.now() - began) / 1000;
}"""
FETCH = """async ([url, token]) => {
  const began = performance.now();
  const answer = await fetch(url, { headers: { Authorization: `token ${token}` } });
  const text = await answer.text();
  JSON.parse(text);
  return [(performance.now() - began) / 1000, text.length];
}"""


def _fill(home: Path) -> None:
    """The farm that Lab is going to find in this home, with tasks that have ended."""
    folder = home / ".local/share/aifarm/lab/server"
    folder.mkdir(parents=True)
    store = open_store(f"sqlite:///{folder / 'farm.db'}")
    with store.transaction() as tx:
        for number in range(RUNS):
            tx.put_task(record(number), None)
    for number in range(RUNS):
        add_points(store, number, POINTS)
    store.close()


def _measure(lab: Lab, page: Page) -> tuple[list[float], list[float], float]:
    """(seconds until drawn, seconds of fetching and parsing the same, KiB of that)."""
    urls: list[str] = []
    page.on("request", lambda asked: urls.append(asked.url) if "/metrics?" in asked.url else None)
    show_runs(page)
    drawn = [page.evaluate(OPEN, task_id(number)) for number in range(RUNS)]
    fetched = [page.evaluate(FETCH, [url, lab.token]) for url in list(urls)]
    return drawn[1:], [seconds for seconds, _ in fetched[1:]], fetched[0][1] / 1024


def run() -> list[Figure]:
    with lab_page(prepare=_fill) as (lab, page):
        drawn, fetched, size = _measure(lab, page)
    median = percentile(drawn, 50)
    return [
        Figure(
            "curve",
            f"a task of {POINTS:,} points, opened in JupyterLab → its curve drawn",
            median,
            "s, median",
            f"<= {GOAL:g}",
            median <= GOAL,
            f"most {max(drawn):.2f} s of {len(drawn)}; plotly's widget takes 3.6 to 3.9 s to show"
            " 10,000 (told, not measured here)",
        ),
        Figure(
            "curve",
            "the same answer, fetched in the page and parsed",
            percentile(fetched, 50),
            "s, median",
            note=f"{size:.0f} KiB: the raw limit",
        ),
    ]
