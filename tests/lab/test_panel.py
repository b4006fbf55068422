"""AI Farm's panel and menus in JupyterLab. The workstations follow a script: their GPUs, and what
these hold and measure, are made up."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Response, expect

from aifarm.wire.agent import Cpu, Gpu, GpuProcess, Memory, Resources
from integration.running import RunningServer
from integration.scripted import ScriptedAgent
from lab.axe import serious
from lab.conftest import PATIENCE, Lab
from lab.oldest import JUPYTERLAB, python_with_oldest_lab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

expect.set_options(timeout=PATIENCE)

ASKED = {"name": "model", "version": "1.0", "requirements": {"min_gpu_memory": 8000}}
BUSY = Gpu(
    0,
    "NVIDIA RTX 3080",
    Memory(10240, 3072),
    utilization=57.0,
    temperature=61.0,
    processes=(GpuProcess(4711, "kim", "python3", 2048),),
)
SILENT = Gpu(1, "NVIDIA RTX 3080", Memory())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("farm")) as server:
        server.publish()
        yield server


@pytest.fixture(scope="module")
def lab(
    browser: Browser, server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lab]:
    """Attached to the farm, as ann."""
    lab = Lab(tmp_path_factory.mktemp("home"))
    lab.start(f"--AIFarm.url={server.url}", f"--AIFarm.token={server.token('researcher', 'ann')}")
    yield lab
    lab.stop()


@pytest.fixture
def agent(server: RunningServer) -> Iterator[ScriptedAgent]:
    """The one workstation that is there. What a test leaves is stopped at its end."""
    with ScriptedAgent(server, gpus=(BUSY, SILENT)) as agent:
        yield agent
        http = server.http()
        for task in http.get("/api/v2/tasks").json()["tasks"]:
            http.put(f"/api/v2/tasks/{task['id']}/status", json={"status": "stopped"})


def submit(server: RunningServer, who: str, title: str) -> str:
    http = server.http(server.token("researcher", who))
    made = http.post("/api/v2/tasks", json={**ASKED, "title": title})
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


def desired(server: RunningServer, task_id: str) -> str:
    return str(server.http().get(f"/api/v2/tasks/{task_id}").json()["desired"])


def open_lab(page: Page, lab: Lab, theme: str = "JupyterLab Light") -> Locator:
    """Lab as it is at first, with the panel open."""
    folder = lab.home / ".jupyter/lab/user-settings/@jupyterlab/apputils-extension"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "themes.jupyterlab-settings").write_text(json.dumps({"theme": theme}))
    page.goto(f"{lab.url}/lab?token={lab.token}&reset")
    page.click("[data-id=aifarm-panel]")
    return page.locator("#aifarm-panel")


def from_menu(page: Page, words: str) -> None:
    page.get_by_role("menuitem", name="AI Farm", exact=True).click()
    page.get_by_role("menuitem", name=words).click()


def test_the_panel_says_what_runs_what_waits_and_who_holds_each_gpu(
    lab: Lab, page: Page, server: RunningServer, agent: ScriptedAgent
) -> None:
    panel = open_lab(page, lab)
    expect(panel.get_by_text("Nothing runs and nothing waits.")).to_be_visible()
    submit(server, "ann", "Seen running")
    agent.take()
    agent.running()
    agent.progress(45.0, step=450)
    submit(server, "kim", "Seen waiting")

    runs = panel.get_by_role("list", name="Running (1)").get_by_role("listitem")
    expect(runs).to_contain_text("Seen running")
    expect(runs).to_contain_text("ann")
    expect(runs.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "45")
    waits = panel.get_by_role("list", name="Waiting (1)").get_by_role("listitem")
    expect(waits).to_contain_text("1.Seen waiting")
    expect(waits).to_contain_text("kim")
    expect(waits.locator(".af-note")).to_contain_text("waits for a client")

    busy = panel.get_by_role("group", name="GPU 0 of ws1")
    for part in ("NVIDIA RTX 3080", "61 °C", "57 %", "3.0 GiB of 10 GiB", "Seen running", "ann"):
        expect(busy).to_contain_text(part)
    expect(busy).to_contain_text("kim: python3, 2.0 GiB")
    silent = panel.get_by_role("group", name="GPU 1 of ws1")
    expect(silent).to_contain_text("n/a")
    expect(silent).to_contain_text("Who holds it: n/a")
    expect(silent).not_to_contain_text("0 %")
    expect(silent).not_to_contain_text("MiB")

    cooler = Gpu(0, "NVIDIA RTX 3080", Memory(10240, 3072), utilization=12.0, temperature=48.0)
    agent.beat(resources=Resources(Cpu(4), Memory(8192), (cooler, SILENT)))
    expect(busy).to_contain_text("48 °C")
    agent.lend(False)
    expect(panel.get_by_text("Its owner has taken it back")).to_be_visible()
    agent.lend(True)
    expect(panel.get_by_text("Its owner has taken it back")).to_have_count(0)


def test_a_task_is_steered_from_its_context_menu(
    lab: Lab, page: Page, server: RunningServer, agent: ScriptedAgent
) -> None:
    task_id = submit(server, "ann", "Steered")
    agent.take()
    agent.running()
    panel = open_lab(page, lab)
    item = panel.get_by_role("listitem").filter(has_text="Steered")
    badge = item.locator(".af-badge")

    def choose(words: str) -> None:
        item.get_by_role("link").click(button="right")
        page.get_by_role("menuitem", name=words, exact=True).click()

    choose("Pause")
    expect(item).to_contain_text("to be paused")
    agent.paused()
    expect(badge).to_have_text("paused")
    item.get_by_role("button", name="Actions for Steered").click()
    expect(page.get_by_role("menuitem", name="Pause", exact=True)).to_have_count(0)
    page.get_by_role("menuitem", name="Resume", exact=True).click()
    agent.running()
    expect(badge).to_have_text("running")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose("Copy Id")
    page.wait_for_function(
        "async (id) => (await navigator.clipboard.readText()) === id", arg=task_id
    )
    choose("Open")
    expect(page.locator(".af-task h2")).to_have_text("Steered")
    choose("Stop")
    expect(item).to_contain_text("to be stopped")
    agent.end("stopped")
    expect(item).to_have_count(0)
    assert desired(server, task_id) == "stopped"

    from_menu(page, "Runs")
    page.locator(".af-runs tbody tr").filter(has_text="Steered").click(button="right")
    page.get_by_role("menuitem", name="Retry", exact=True).click()
    expect(item).to_be_visible()
    agent.take()
    agent.running()  # else the next agent would be given it again


def test_who_ends_a_task_of_mine_is_told_once_and_of_others_never(
    lab: Lab, page: Page, server: RunningServer, agent: ScriptedAgent
) -> None:
    panel = open_lab(page, lab)
    for who in ("kim", "ann"):
        task_id = submit(server, who, f"Of {who}")
        agent.take()
        agent.running()
        expect(panel.get_by_role("listitem").filter(has_text=f"Of {who}")).to_be_visible()
        agent.end("completed")
        expect(panel.get_by_text("Nothing runs and nothing waits.")).to_be_visible()
    mine = page.locator(".Toastify__toast").filter(has_text="Of ann completed")
    expect(mine).to_be_visible()
    expect(page.locator(".Toastify__toast").filter(has_text="Of kim")).to_have_count(0)

    def remembered(answer: Response) -> bool:
        """Lab keeps its layout, with the task in it, some time after it changes."""
        return "/api/workspaces/" in answer.url and task_id in (answer.request.post_data or "")

    with page.expect_response(remembered):
        mine.get_by_role("button", name="Show").click()
    expect(page.locator(".af-task h2")).to_have_text("Of ann")

    page.goto(f"{lab.url}/lab?token={lab.token}")
    expect(page.locator(".af-task h2")).to_have_text("Of ann")  # it is open again
    expect(panel.get_by_text("Nothing runs and nothing waits.")).to_be_visible()
    expect(page.locator(".Toastify__toast").filter(has_text="Of ann")).to_have_count(0)


def test_a_first_notebook_is_at_hand_and_never_written_over(lab: Lab, page: Page) -> None:
    panel = open_lab(page, lab)
    from_menu(page, "First Notebook")
    expect(page.get_by_role("heading", name="A model of this notebook")).to_be_visible()
    made = lab.home / "aifarm-quickstart.ipynb"
    cells = json.loads(made.read_text())["cells"]
    made.write_text(json.dumps({**json.loads(made.read_text()), "cells": cells[:1]}))
    open_lab(page, lab)
    page.locator(".jp-LauncherCard", has_text="First Notebook").click()
    expect(page.locator(".jp-Notebook .jp-Cell")).to_have_count(1)
    assert len(json.loads(made.read_text())["cells"]) == 1
    page.keyboard.press("Escape")
    page.keyboard.press("Alt+Shift+F")
    expect(panel).to_be_hidden()
    page.keyboard.press("Alt+Shift+F")
    expect(panel).to_be_visible()


def test_the_keyboard_keeps_its_place_while_the_panel_changes(
    lab: Lab, page: Page, server: RunningServer, agent: ScriptedAgent
) -> None:
    panel = open_lab(page, lab)
    expect(panel.get_by_text("Nothing runs and nothing waits.")).to_be_visible()
    submit(server, "ann", "By keyboard")
    agent.take()
    agent.running()
    link = panel.get_by_role("listitem").get_by_role("link", name="By keyboard")
    expect(link).to_be_visible()
    expect(panel.get_by_role("status").first).to_have_text("By keyboard: running")
    panel.get_by_role("button", name="Diagnostics").focus()
    page.keyboard.press("Tab")
    expect(link).to_be_focused()
    agent.progress(30.0, step=3)
    submit(server, "kim", "Another")
    expect(panel.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "30")
    expect(panel.get_by_role("link", name="Another")).to_be_visible()
    expect(link).to_be_focused()
    page.keyboard.press("Tab")
    expect(panel.get_by_role("button", name="Actions for By keyboard")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".af-task h2")).to_have_text("By keyboard")


def test_diagnostics_name_both_sides_and_say_what_to_upgrade(
    lab: Lab, page: Page, server: RunningServer, agent: ScriptedAgent
) -> None:
    open_lab(page, lab)
    from_menu(page, "Diagnostics")
    view = page.locator(".af-diagnostics")
    expect(view.get_by_text("Nothing is found to be wrong.")).to_be_visible()
    for part in ("attached to a farm elsewhere", server.url, "ann (researcher)", "ws1", "XSRF"):
        expect(view).to_contain_text(part)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    view.get_by_role("button", name="Copy as text").click()
    expect(view.get_by_text("Copied.")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert re.search(r"JupyterLab: \d", copied)
    assert f"at: {server.url}" in copied

    page.route(
        "**/extensions/aifarm/package.json?*", lambda r: r.fulfill(json={"version": "0.0.1"})
    )
    view.get_by_role("button", name="Look again").click()
    expect(view.get_by_role("alert")).to_contain_text(
        "upgrade aifarm in the environment in which JupyterLab is installed, and restart Jupyter"
    )


def test_without_the_servers_part_one_sentence_says_what_to_do(lab: Lab, page: Page) -> None:
    page.route("**/aifarm/static/lab.js", lambda route: route.fulfill(status=404))
    page.goto(f"{lab.url}/lab?token={lab.token}&reset")
    expect(page.get_by_text("where the Jupyter server runs")).to_be_visible()
    page.faults.clear()  # type: ignore[attr-defined]  # the browser's own word on the 404


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_nothing_keeps_people_out(
    lab: Lab, page: Page, server: RunningServer, agent: ScriptedAgent, theme: str
) -> None:
    """As axe-core finds it, in every view."""
    submit(server, "ann", "Looked at")
    agent.take()
    agent.running()
    agent.progress(20.0, step=2, loss=0.5)
    agent.log("a line")
    submit(server, "kim", "Waits")
    panel = open_lab(page, lab, theme)
    expect(panel.locator(".af-note").first).to_be_visible()
    found = serious(page, "#aifarm-panel")
    for open_view, seen in (
        (lambda: panel.get_by_role("link", name="Looked at").first.click(), ".af-task .uplot"),
        (lambda: from_menu(page, "Runs"), ".af-runs tbody tr >> nth=1"),
        (lambda: panel.get_by_role("link", name="ws1").click(), ".af-story li >> nth=0"),
        (lambda: from_menu(page, "Diagnostics"), ".af-diagnostics dl >> nth=3"),
    ):
        open_view()
        expect(page.locator(seen)).to_be_visible()
        found += serious(page, ".jp-MainAreaWidget:not(.lm-mod-hidden) .af-lab")
    assert found == []


@pytest.mark.timeout(900)
def test_the_oldest_lab_has_the_panel_the_menus_and_the_toasts(
    page: Page, server: RunningServer, agent: ScriptedAgent, tmp_path: Path
) -> None:
    """All other tests are of the newest."""
    lab = Lab(tmp_path, python_with_oldest_lab())
    lab.start(f"--AIFarm.url={server.url}", f"--AIFarm.token={server.token('researcher', 'ann')}")
    try:
        submit(server, "ann", "Seen in an old Lab")
        agent.take()
        agent.running()
        agent.progress(45.0, step=450, loss=0.5)
        agent.beat(cpu_usage=20.0)  # an installation may have taken minutes
        panel = open_lab(page, lab)
        expect(panel.get_by_role("group", name="GPU 0 of ws1")).to_contain_text("61 °C")
        item = panel.get_by_role("listitem").filter(has_text="Seen in an old Lab")
        item.get_by_role("link").click(button="right")
        page.get_by_role("menuitem", name="Pause", exact=True).click()
        expect(item).to_contain_text("to be paused")
        from_menu(page, "Diagnostics")
        view = page.locator(".af-diagnostics")
        expect(view.get_by_text("Nothing is found to be wrong.")).to_be_visible()
        expect(view).to_contain_text(JUPYTERLAB)
        agent.end("completed")
        toast = page.locator(".Toastify__toast").filter(has_text="Seen in an old Lab completed")
        toast.get_by_role("button", name="Show").click()
        expect(page.locator(".af-task .uplot").first).to_be_visible()
        from_menu(page, "First Notebook")
        expect(page.get_by_role("heading", name="A model of this notebook")).to_be_visible()
    finally:
        page.close()  # it would complain that Lab is gone
        # That Lab's own table of contents stumbles over a notebook that opens.
        page.faults[:] = [one for one in page.faults if "/aifarm/" in one]  # type: ignore[attr-defined]
        lab.kill()
