"""A real JupyterLab in a real Chromium, with a farm of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

import aifarm
import aifarm_jupyter
from aifarm import Farm, Task
from aifarm.sdk import connect
from aifarm.sdk.config import from_farm_file, read_token
from integration.running import RunningServer, free_port
from integration.scripted import ScriptedAgent

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DOOR = Path(aifarm_jupyter.__file__).parent / "labextension"
PATIENCE = 90_000
"""Milliseconds for what a busy machine may take long for."""

# What others write into a page's console, and is no fault of ours.
OTHERS = ("took", "jupyterlab-lsp", "websocket_ping")


class Lab:
    """One `jupyter lab` in a home of its own; `stop` and `start` again keep what is there."""

    token = "secret"

    def __init__(self, home: Path, python: str = sys.executable) -> None:
        self.home = home
        self.python = python
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        home.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *options: str) -> None:
        """Returns once it answers and its farm is there."""
        env = {
            k: v for k, v in os.environ.items() if not k.startswith(("AIFARM", "JUPYTER", "XDG"))
        }
        # The door of this tree: the one that is installed was copied when it was installed.
        door = self.home / ".door" / "labextensions" / "aifarm"
        shutil.copytree(DOOR, door, dirs_exist_ok=True)
        env["JUPYTER_PATH"] = str(door.parent.parent)
        command = [self.python, "-m", "jupyterlab", "--allow-root", "--no-browser"]
        flags = [
            f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={self.home}",
            "--LabApp.news_url=None",
        ]
        with open(self.home / "lab.log", "ab") as log:
            self.process = subprocess.Popen(
                [*command, *flags, *options],
                cwd=self.home,
                env={**env, "HOME": str(self.home), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while self.info().get("state") not in ("leading", "following", "attached"):
            assert self.process.poll() is None, (self.home / "lab.log").read_text()
            time.sleep(0.2)  # it answers when it is asked, and tells nobody

    def info(self) -> dict[str, Any]:
        try:
            answer = httpx.get(
                f"{self.url}/aifarm/info", headers={"Authorization": f"token {self.token}"}
            )
            return dict(answer.json()) if answer.status_code == 200 else {}
        except httpx.HTTPError:
            return {}

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)

    def kill(self) -> None:
        """SIGKILL, for a Lab that nobody asks anything any more."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(timeout=60)

    def connect(self) -> Farm:
        """The farm, as a kernel finds it."""
        data = self.home / ".local/share/aifarm/lab"
        address = from_farm_file(data / "server/farm.json")
        assert address is not None
        return connect(address.url, read_token(data / "lab-token"))

    def notebook(self, name: str, *cells: str) -> None:
        """Writes a notebook of code cells."""
        made = [
            {"cell_type": "code", "id": f"c{i}", "metadata": {}, "outputs": [], "source": cell}
            | {"execution_count": None}
            for i, cell in enumerate(cells)
        ]
        spec = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        whole = {"cells": made, "metadata": spec, "nbformat": 4, "nbformat_minor": 5}
        (self.home / name).write_text(json.dumps(whole))


# Of a module: its driver keeps a loop running in this thread, in which others could not run theirs.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        # Where changes are judged it has to be there; elsewhere who has none is told so.
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("needs Chromium: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that must not complain, and must not ask another host for anything."""
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    faults: list[str] = []
    foreign: list[str] = []

    def console(message: Any) -> None:
        if message.type == "error" and not any(other in message.text for other in OTHERS):
            faults.append(message.text)

    def asked(request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")):
            foreign.append(request.url)

    page.on("console", console)
    page.on("pageerror", lambda error: faults.append(error.stack or str(error)))
    page.on("request", asked)
    page.faults = faults  # type: ignore[attr-defined]
    yield page
    context.close()
    assert faults == []
    assert foreign == []


@pytest.fixture(scope="module")
def lab(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("home"))
    lab.start()
    yield lab
    lab.stop()


# A farm alone, and a workstation that does what a test says.


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("farm"), rate_limit=1_000_000) as running:
        running.publish()
        yield running


@pytest.fixture
def farm(server: RunningServer) -> Iterator[Farm]:
    with aifarm.connect(server.url, server.token("researcher")) as farm:
        yield farm


@pytest.fixture
def agent(server: RunningServer, request: pytest.FixtureRequest) -> Iterator[ScriptedAgent]:
    """A workstation of the test's own: a farm keeps a sample of each now and then, not always."""
    with ScriptedAgent(server, f"ws{abs(hash(request.node.name)) % 10_000}") as agent:
        yield agent


@pytest.fixture
def task(farm: Farm, agent: ScriptedAgent) -> Iterator[Task]:
    """One that runs."""
    task = farm.submit("model", title="Seen whole")
    agent.take()
    agent.running()
    yield task
    task.refresh()
    if not task.done:
        agent.end()


def history(steps: range, since: float = 0.0) -> list[tuple[int, float, dict[str, float]]]:
    """Ten points a second, with a spike at step 1234."""
    return [
        (step, since + step / 10, {"loss": 99.0 if step == 1234 else 1 / (1 + step)})
        for step in steps
    ]


def shown(page: Page, server: RunningServer, task: Task) -> Locator:
    """The task's view in the dashboard, logged in."""
    page.goto(f"{server.url}/#/tasks/{task.id}")
    page.get_by_label("Token").fill(server.token("researcher"))
    page.get_by_role("button", name="Log in").click()
    view = page.locator(".af-task")
    expect(view.get_by_role("heading", name=task.info.title)).to_be_visible()
    return view
