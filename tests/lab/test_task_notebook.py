"""A task in a notebook: what its view and `wait()` outlive, and where there is no extension."""

import os
import re
import signal
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import aifarm
from aifarm import Farm, Task
from integration.running import RunningServer
from integration.scripted import ScriptedAgent
from lab.conftest import PATIENCE, Lab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

expect.set_options(timeout=PATIENCE)


class Bare(Lab):
    """One without the farm's extension."""

    def start(self, *options: str) -> None:
        super().start("--ServerApp.jpserver_extensions={'aifarm_jupyter': False}", *options)

    def info(self) -> dict[str, str]:
        try:
            answer = httpx.get(f"{self.url}/api", params={"token": self.token})
            return {"state": "attached"} if answer.status_code == 200 else {}
        except httpx.HTTPError:
            return {}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("farm"), rate_limit=1_000_000) as running:
        running.publish()
        yield running


@pytest.fixture(scope="module")
def lab(
    browser: Browser, server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lab]:
    """Attached to the farm."""
    lab = Lab(tmp_path_factory.mktemp("home"))
    lab.start(f"--AIFarm.url={server.url}", f"--AIFarm.token={server.token('researcher')}")
    yield lab
    lab.stop()


@pytest.fixture
def farm(server: RunningServer) -> Iterator[Farm]:
    with aifarm.connect(server.url, server.token("researcher")) as farm:
        yield farm


@pytest.fixture
def agent(server: RunningServer) -> Iterator[ScriptedAgent]:
    with ScriptedAgent(server, "ws1") as agent:
        yield agent


@pytest.fixture
def task(farm: Farm, agent: ScriptedAgent) -> Task:
    """One that runs."""
    task = farm.submit("model", title="In a notebook")
    agent.take()
    agent.running()
    return task


def run(page: Page, lab: Lab, *cells: str) -> Locator:
    """The notebook in which the cells run."""
    lab.notebook("task.ipynb", *cells)
    page.goto(f"{lab.url}/lab/tree/task.ipynb?token={lab.token}&reset")
    expect(page.get_by_text("(ipykernel) | Idle")).to_be_visible()
    page.click(".jp-Notebook .jp-CodeCell >> nth=0")
    choose(page, "Run", "Run All Cells")
    return page.locator(".jp-Notebook")


def choose(page: Page, menu: str, item: str) -> None:
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.get_by_role("menuitem", name=re.compile(f"^{item}")).first.click()


def grow(agent: ScriptedAgent, card: Locator, step: int) -> None:
    """A point comes, and the curve has it."""
    agent.points(step / 10, (step, 1_700_000_000.0 + step, {"loss": 1 / step}))
    expect(card.get_by_role("img", name="loss").locator(".u-legend")).to_contain_text(f"step{step}")


def test_a_card_outlives_its_kernel_a_reload_and_the_server(
    lab: Lab, server: RunningServer, agent: ScriptedAgent, task: Task, page: Page
) -> None:
    page.on("dialog", lambda dialog: dialog.accept())
    notebook = run(
        page,
        lab,
        "import aifarm, os\nfrom aifarm_jupyter import TaskMonitor",
        f"task = aifarm.connect().task('{task.id}')\nTaskMonitor(task, compare=[task])",
        "open('pid', 'w').write(str(os.getpid()))",
    )
    card = notebook.locator(".af-task")
    expect(card.locator(".af-badge").first).to_have_text("running")
    grow(agent, card, 1)
    expect(notebook.get_by_text("[3]:").first).to_be_visible()
    choose(page, "File", "Save Notebook")
    os.kill(int((lab.home / "pid").read_text()), signal.SIGKILL)
    grow(agent, card, 2)
    page.reload()
    expect(card.locator(".af-badge").first).to_have_text("running")
    grow(agent, card, 3)
    server.kill()
    expect(page.locator(".jp-Notebook .af-connection")).to_be_visible()
    server.start()
    expect(page.locator(".jp-Notebook .af-connection")).to_be_hidden()
    with ScriptedAgent(server, "ws1") as back:
        back.take()
        back.running()
        grow(back, card, 4)
        card.get_by_role("button", name="Stop").click()
        expect(card.get_by_text("It writes a checkpoint and ends.")).to_be_visible()
        back.end("stopped")
        expect(card.locator(".af-badge").first).to_have_text("stopped")
    page.faults.clear()  # type: ignore[attr-defined]  # it said that nothing answered


def test_without_an_extension_the_kernel_takes_its_place(
    server: RunningServer,
    agent: ScriptedAgent,
    task: Task,
    page: Page,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    lab = Bare(tmp_path_factory.mktemp("bare"))
    lab.start()
    try:
        notebook = run(
            page,
            lab,
            "import aifarm",
            f"farm = aifarm.connect({server.url!r}, {server.token('researcher')!r})",
            f"farm.task('{task.id}')",
        )
        card = notebook.locator(".af-task")
        expect(card.locator(".af-badge").first).to_have_text("running")
        grow(agent, card, 1)
        grow(agent, card, 2)
        card.get_by_role("button", name="Pause").click()
        expect(card.get_by_text("It pauses at its next step.")).to_be_visible()
        agent.paused()
        expect(card.locator(".af-badge").first).to_have_text("paused")
        page.goto("about:blank")
    finally:
        lab.stop()
    agent.end()
    page.faults.clear()  # type: ignore[attr-defined]  # it asked for the extension, in vain


def test_waiting_shows_how_far_it_is_and_an_interrupt_leaves_it_alone(
    lab: Lab, agent: ScriptedAgent, task: Task, page: Page
) -> None:
    notebook = run(page, lab, f"import aifarm\naifarm.connect().task('{task.id}').wait()")
    bar = notebook.get_by_role("progressbar")
    agent.progress(40.0, 1, loss=0.5)
    expect(bar).to_have_attribute("value", "40.0")
    expect(notebook.get_by_text("running, loss 0.5")).to_be_visible()
    choose(page, "Kernel", "Interrupt Kernel")
    expect(
        notebook.get_by_text(f"Task {task.id[:8]} goes on; stop() would end it.")
    ).to_be_visible()
    assert task.status == "running"
    agent.end()
