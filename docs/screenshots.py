"""Takes the pictures in docs/images anew: a real farm, real training, JupyterLab and the dashboard
in Chromium, light and dark.

    make pictures ARGS="NAME ..."

Each NAME is one of PICTURES; without any, all are taken. It needs the test extra and Chromium, and
takes some minutes.
"""

import io
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from aifarm import Farm, Task, TaskFailed, connect
from lab.conftest import CHROMIUM, FLAGS, PATIENCE, Lab

IMAGES = Path(__file__).with_name("images")
DIGITS = Path(__file__).parents[1] / "examples" / "digits"
SCHEMES = ("light", "dark")
WIDTH, HEIGHT = 1280, 800
TALL = 1400
"""Of a window where a view is seen whole."""

MARGIN = 12
"""Around what is taken out of a page."""

COLOURS = 128
"""Of a picture: enough for a page, and few enough for a small file."""

SETTINGS = {"themes": '{"adaptive-theme": true}', "notification": '{"fetchNews": "false"}'}
"""Of Lab: as light or dark as the browser, and no question about news."""

expect.set_options(timeout=PATIENCE)


# ---------------------------------------------------------------- what there is to see


class Scene:
    """A farm in which something was trained, something trains, and something waits."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        admin = lab.connect()
        self.url = admin.url
        self.token = str(admin.create_token("ada", "admin").token)
        self.farm = connect(self.url, self.token)
        self.digits = self.farm.publish(DIGITS, name="digits")
        for rate, channels in ((0.0003, 8), (0.001, 16), (0.003, 16), (0.03, 32)):
            self._task(
                self.farm,
                f"digits, {channels} channels",
                epochs=12,
                learning_rate=rate,
                config={"channels": channels},
            ).wait()
        bo = connect(self.url, str(admin.create_token("bo", "researcher").token))
        self._task(bo, "needs a large GPU", epochs=5, min_gpu_memory=80_000)
        with suppress(TaskFailed):
            self._task(self.farm, "no number", epochs=5, config={"channels": "many"}).wait()
        self.task = self._task(
            self.farm, "digits, a long run", epochs=4000, learning_rate=0.0005, notes="For the docs"
        )
        next(seen for seen in self.task.watch() if seen.progress > 1)

    def _task(self, farm: Farm, title: str, **options: Any) -> Task:
        return farm.submit(package=self.digits, title=title, tags=["digits"], **options)


# ---------------------------------------------------------------- the pictures

Shown = Page | Locator
Picture = Callable[[Scene, Page], Shown]


def dashboard(view: Callable[[Scene], str], ready: str) -> Picture:
    """A view of the farm's own page, once what `ready` selects is there."""

    def show(scene: Scene, page: Page) -> Shown:
        page.goto(f"{scene.url}/#/{view(scene)}")
        page.get_by_label("Token").fill(scene.token)
        page.get_by_role("button", name="Log in").click()
        expect(page.locator(ready).first).to_be_visible()
        return page

    return show


def notebook(name: str, cell: str, output: str, panel: bool = False) -> Picture:
    """What a cell shows; with the window around it and the panel beside it, or alone."""

    def show(scene: Scene, page: Page) -> Shown:
        lab = scene.lab
        begin = "import aifarm, aifarm_jupyter\nfarm = aifarm.connect()"
        lab.notebook(f"{name}.ipynb", begin, cell)
        page.goto(f"{lab.url}/lab/tree/{name}.ipynb?token={lab.token}&reset")
        expect(page.get_by_text("(ipykernel) | Idle")).to_be_visible()
        page.click(".jp-Notebook .jp-CodeCell >> nth=0")
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        shown = page.locator(f".jp-OutputArea-output {output}").first
        expect(shown).to_be_visible()
        if panel:
            page.click("[data-id=aifarm-panel]")
            expect(page.locator("#aifarm-panel .af-machine").first).to_be_visible()
            return page
        page.keyboard.press("Control+b")  # the files beside it
        page.set_viewport_size({"width": WIDTH, "height": TALL})
        return page.locator(".jp-OutputArea-output", has=page.locator(output)).last

    return show


PICTURES: dict[str, Picture] = {
    "dashboard": dashboard(lambda _: "tasks", ".af-runs"),
    "dashboard-task": dashboard(lambda scene: f"tasks/{scene.task.id}", ".uplot"),
    "dashboard-machine": dashboard(lambda _: "clients/agent-1", ".uplot"),
    "dashboard-health": dashboard(lambda _: "health", ".af-verdict"),
    "form": notebook("form", "aifarm_jupyter.SubmitForm(farm)", ".widget-vbox"),
    "monitor": notebook(
        "monitor",
        "task = next(iter(farm.tasks(status='running')))\naifarm_jupyter.TaskMonitor(task)",
        ".uplot",
    ),
    "runs": notebook("runs", "aifarm_jupyter.RunsTable(farm)", ".af-runs"),
    "panel": notebook("first", "next(iter(farm.tasks(status='running')))", ".uplot", panel=True),
}


# ---------------------------------------------------------------- the camera


def open_page(browser: Browser, scheme: str) -> Page:
    context = browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT},
        color_scheme="dark" if scheme == "dark" else "light",
        locale="en-GB",
        timezone_id="UTC",
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    return page


def keep(shown: Shown, path: Path) -> None:
    """Writes a small PNG."""
    taken = Image.open(io.BytesIO(shown.screenshot(animations="disabled"))).convert("RGB")
    IMAGES.mkdir(exist_ok=True)
    if isinstance(shown, Locator):
        taken = ImageOps.expand(taken, MARGIN, taken.getpixel((0, 0)))
    few = taken.quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lab = Lab(Path(folder) / "home")
        settings = lab.home / ".jupyter/lab/user-settings/@jupyterlab/apputils-extension"
        settings.mkdir(parents=True)
        for name, value in SETTINGS.items():
            (settings / f"{name}.jupyterlab-settings").write_text(value)
        lab.start()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            scene = Scene(lab)
            for name in names:
                for scheme in SCHEMES:
                    page = open_page(browser, scheme)
                    shown = PICTURES[name](scene, page)
                    page.evaluate(
                        "() => new Promise(requestAnimationFrame)"
                    )  # what is due is drawn
                    keep(shown, IMAGES / f"{name}-{scheme}.png")
                    page.context.close()
            scene.task.stop()
        finally:
            browser.close()
            lab.stop()


if __name__ == "__main__":
    main(sys.argv[1:] or list(PICTURES))
