"""JupyterLab as a researcher has it: the panel, the widgets, and what they outlive."""

import re

import pytest
from playwright.sync_api import Page, expect

from integration.running import SLOW_MODEL
from lab.conftest import PATIENCE, Lab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

expect.set_options(timeout=PATIENCE)


def open_notebook(page: Page, lab: Lab, name: str) -> None:
    page.goto(f"{lab.url}/lab/tree/{name}?token={lab.token}&reset")
    expect(page.locator(".jp-Notebook .jp-CodeCell").first).to_be_visible()
    expect(page.get_by_text("(ipykernel) | Idle")).to_be_visible()


def run_all(page: Page) -> None:
    page.click(".jp-Notebook .jp-CodeCell >> nth=0")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def test_the_panel_shows_the_machines_and_opens_a_task(lab: Lab, page: Page) -> None:
    with lab.connect() as farm:
        package = farm.publish(SLOW_MODEL, name="slow")
        task = farm.submit(package=package, epochs=1000, title="Seen in the panel")
        page.goto(f"{lab.url}/lab?token={lab.token}&reset")
        page.click("[data-id=aifarm-panel]")
        panel = page.locator("#aifarm-panel")
        expect(panel.locator(".af-machine")).to_have_count(1)
        panel.get_by_role("link", name="Seen in the panel").first.click()
        expect(page.locator(".af-task .uplot").first).to_be_visible()
        expect(page.locator(".af-task .af-badge").first).to_have_text("running")
        page.locator(".af-task").get_by_role("button", name="Stop").click()
        expect(page.locator(".af-task .af-badge").first).to_have_text("stopped")
        task.wait(timeout=60)


def test_a_task_is_watched_and_held_while_its_kernel_is_busy_and_gone(lab: Lab, page: Page) -> None:
    lab.notebook(
        "watch.ipynb",
        "import aifarm, time\nfrom aifarm_jupyter import TaskMonitor\nfarm = aifarm.connect()",
        f"package = farm.publish({SLOW_MODEL!r}, name='watched')\n"
        "task = farm.submit(package=package, epochs=2000, title='Watched')\nTaskMonitor(task)",
        "time.sleep(600)",
    )
    open_notebook(page, lab, "watch.ipynb")
    run_all(page)
    card = page.locator(".jp-Notebook .af-task")
    expect(card.locator(".af-badge").first).to_have_text("running")
    # Not Lab's word for the kernel, which another message's end may turn to idle.
    expect(page.locator(".jp-InputPrompt").nth(2)).to_have_text("[*]:")

    # The last cell blocks the kernel: what is clicked and seen goes past it.
    card.get_by_role("button", name="Pause").click()
    expect(card.locator(".af-badge").first).to_have_text("paused")
    card.get_by_role("button", name="Resume").click()
    expect(card.locator(".af-badge").first).to_have_text("running")

    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_role("menuitem", name="Shut Down Kernel", exact=True).click()
    step = re.compile(r"[1-9]")
    expect(card.locator(".u-legend .u-value").first).to_have_text(step)
    card.get_by_role("button", name="Stop").click()
    expect(card.locator(".af-badge").first).to_have_text("stopped")


def test_a_form_says_what_is_wrong_at_its_field_and_submits(lab: Lab, page: Page) -> None:
    with lab.connect() as farm:
        farm.publish(SLOW_MODEL, name="formed")
    lab.notebook(
        "form.ipynb",
        "import aifarm\nfrom aifarm_jupyter import SubmitForm\nSubmitForm(aifarm.connect())",
    )
    open_notebook(page, lab, "form.ipynb")
    run_all(page)
    form = page.locator(".jp-OutputArea .widget-vbox").first
    form.locator("select").first.select_option("formed")
    epochs = form.get_by_placeholder("10", exact=True)
    epochs.fill("many")
    epochs.press("Tab")
    expect(form.get_by_role("alert").first).to_have_text("'many' is not a whole number.")
    expect(form.get_by_role("button", name="Submit")).to_be_disabled()
    epochs.fill("1")
    epochs.press("Tab")
    expect(form.get_by_text("Would start now on one of")).to_be_visible()
    form.get_by_role("button", name="Submit").click()
    expect(form.get_by_text("Submitted:")).to_be_visible()


def test_a_restart_of_jupyter_takes_up_what_trains(lab: Lab, page: Page) -> None:
    with lab.connect() as farm:
        package = farm.publish(SLOW_MODEL, name="lasting")
        task = farm.submit(package=package, epochs=100_000, title="Lasting")
        next(seen for seen in task.watch() if seen.progress)
        before = task.info.attempt
    page.goto(f"{lab.url}/lab?token={lab.token}&reset")
    page.click("[data-id=aifarm-panel]")
    expect(page.locator("#aifarm-panel").get_by_role("link", name="Lasting").first).to_be_visible()
    lab.stop()
    expect(page.locator("#aifarm-panel .af-connection")).to_be_visible()
    lab.start()
    page.faults.clear()  # type: ignore[attr-defined]  # it said that nothing answered
    expect(page.locator("#aifarm-panel .af-connection")).to_be_hidden()
    with lab.connect() as farm:
        task = farm.task(task.id)
        next(seen for seen in task.watch() if seen.status == "running")
        assert task.info.attempt == before
        task.stop()
        task.wait(timeout=60)
    page.faults.clear()  # type: ignore[attr-defined]
