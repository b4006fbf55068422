"""Submitting and finding in a notebook: the form that takes its code, and the table of runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from aifarm import Farm
from lab.axe import serious
from lab.conftest import Lab
from lab.test_lab import open_notebook, run_all

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

CODE = """\
import torch
from torch import nn
from torch.utils.data import TensorDataset

def build_model(cfg):
    return nn.Linear(4, 2)

def build_data(cfg):
    return TensorDataset(torch.randn(64, 4), torch.randint(0, 2, (64,)))"""


@pytest.fixture
def farm(lab: Lab) -> Iterator[Farm]:
    with lab.connect() as connected:
        yield connected


@pytest.fixture(scope="module")
def trained(lab: Lab) -> None:
    """Two runs with curves, of this person's own."""
    with lab.connect() as farm:
        package = farm.publish(CODE, name="rates")
        for rate in (0.1, 0.01):
            config = {"hidden": round(1 / rate)}
            farm.submit(
                package=package, epochs=2, learning_rate=rate, title=f"Rate {rate}", config=config
            )
        for task in farm.tasks(name="rates"):
            task.wait()


def table_of_runs(page: Page, lab: Lab, name: str, *cells: str) -> Locator:
    lab.notebook(
        name,
        "import aifarm\nfrom aifarm_jupyter import RunsTable\nfarm = aifarm.connect()",
        "runs = RunsTable(farm, search='Rate')\nruns",
        *cells,
    )
    open_notebook(page, lab, name)
    run_all(page)
    table = page.locator(".jp-Notebook .af-widget")
    expect(table.get_by_role("link", name="Rate 0.1", exact=True)).to_be_visible()
    return table


def test_a_form_takes_the_notebooks_code_and_gives_the_call_to_copy(
    lab: Lab, page: Page, farm: Farm
) -> None:
    lab.notebook(
        "cells.ipynb",
        CODE,
        "import aifarm\nimport ipywidgets as w\nfrom aifarm_jupyter import SubmitForm\n"
        "form = SubmitForm(aifarm.connect())\nseen = w.Label()\n"
        "form.observe(lambda change: setattr(seen, 'value', 'heard ' + change.new.id), 'task')\n"
        "w.VBox([form, seen])",
    )
    open_notebook(page, lab, "cells.ipynb")
    run_all(page)
    form = page.locator(".jp-OutputArea .widget-vbox").first
    form.get_by_role("button", name="This notebook's code").click()
    expect(form.get_by_role("checkbox", name="build_model (function)")).to_be_checked()
    expect(form.get_by_role("button", name="Submit")).to_be_disabled()
    name = form.get_by_label("Name").first
    name.fill("from-cells")
    name.press("Tab")
    form.get_by_label("Epochs").fill("1")
    form.get_by_label("Epochs").press("Tab")
    expect(form.get_by_text("Would start now on one of")).to_be_visible()
    form.get_by_text("The same in Python").click()
    expect(form.locator("pre code")).to_contain_text("farm.publish_cells(")
    expect(form.get_by_role("button", name="Copy")).to_be_enabled()
    assert serious(page, ".jp-Notebook .widget-vbox") == []
    form.get_by_role("button", name="Submit").click()
    expect(form.get_by_text("Submitted:")).to_be_visible()
    (task,) = farm.tasks(name="from-cells")
    expect(form.get_by_text(f"heard {task.id}")).to_be_visible()
    assert task.wait().info.status == "completed"


def test_a_form_says_which_machines_lack_what(lab: Lab, page: Page, farm: Farm) -> None:
    farm.publish(CODE, name="large")
    lab.notebook(
        "large.ipynb",
        "import aifarm\nfrom aifarm_jupyter import SubmitForm\n"
        "form = SubmitForm(aifarm.connect(), value={'name': 'large'})\nform",
    )
    open_notebook(page, lab, "large.ipynb")
    run_all(page)
    form = page.locator(".jp-OutputArea .widget-vbox").first
    form.get_by_role("tab", name="Machines").click()
    form.get_by_label("RAM").fill("999999999")
    form.get_by_label("RAM").press("Tab")
    expect(form.get_by_text("does not fit")).to_be_visible()
    form.get_by_label("RAM").fill("-1")
    form.get_by_label("RAM").press("Tab")
    expect(form.get_by_role("alert")).to_have_text("This has to be a number of MiB, 0 or more.")
    expect(form.get_by_text("does not fit")).to_be_hidden()


@pytest.mark.usefixtures("trained")
def test_runs_are_found_by_config_and_compared(lab: Lab, page: Page, tmp_path: Path) -> None:
    table = table_of_runs(page, lab, "found.ipynb")
    table.get_by_role("button", name="Mine").click()
    expect(table.get_by_role("button", name="Mine")).to_have_attribute("aria-pressed", "true")
    table.get_by_role("button", name="Columns").click()
    table.get_by_role("checkbox", name="hidden", exact=True).check()
    table.get_by_role("checkbox", name="loss.min", exact=True).check()
    table.get_by_role("button", name="loss min", exact=True).click()
    heading = table.get_by_role("columnheader", name="loss min")
    expect(heading).to_have_attribute("aria-sort", "descending")

    table.get_by_role("checkbox", name="Choose all of this page").check()
    table.get_by_role("button", name="Compare").click()
    compared = table.get_by_role("region", name="Compared")
    expect(compared.get_by_role("cell", name="100", exact=True)).to_be_visible()
    expect(compared.locator(".uplot").first).to_be_visible()
    compared.get_by_role("checkbox", name="log axis").check()
    expect(compared.locator(".uplot").first).to_be_visible()
    assert serious(page, ".jp-Notebook .af-widget") == []
    compared.get_by_role("button", name="Close").click()

    where = table.get_by_placeholder("Where")
    where.fill("config.hidden>=100")
    where.press("Enter")
    expect(table.get_by_role("link", name="Rate 0.1", exact=True)).to_be_hidden()
    with page.expect_download() as download:
        table.get_by_role("button", name="CSV").click()
    download.value.save_as(tmp_path / "runs.csv")
    head, row = (tmp_path / "runs.csv").read_text().splitlines()
    assert head.startswith("id,title,package,")
    assert "config.hidden" in head
    assert ",Rate 0.01,rates," in row


@pytest.mark.usefixtures("trained")
def test_what_is_said_of_a_run_is_changed_in_the_table(lab: Lab, page: Page, farm: Farm) -> None:
    table = table_of_runs(page, lab, "edited.ipynb")
    table.get_by_role("button", name="Edit Rate 0.1", exact=True).click()
    editor = table.get_by_role("form", name="Edit task")
    editor.get_by_label("tags").fill("one two")
    editor.get_by_label("notes").fill("Seen.")
    editor.get_by_role("button", name="Save").click()
    expect(editor).to_be_hidden()
    row = table.get_by_role("row", name="Rate 0.1 ")
    expect(row.get_by_text("two", exact=True)).to_be_visible()
    (task,) = farm.tasks(tags=["one", "two"])
    assert task.info.notes == "Seen."


@pytest.mark.usefixtures("trained")
def test_ticked_runs_are_known_in_python_and_their_deletion_is_undone(
    lab: Lab, page: Page, farm: Farm
) -> None:
    cell = (
        "import ipywidgets as w\nseen = w.Label()\n"
        "def show(change):\n    seen.value = ', '.join(task.info.title for task in change.new)\n"
        "runs.observe(show, 'selected')\nruns.selected = farm.tasks(search='Rate 0.01')\nseen"
    )
    table = table_of_runs(page, lab, "ticked.ipynb", cell)
    seen = page.locator(".jp-OutputArea .widget-label")
    expect(seen).to_have_text("Rate 0.01")
    expect(table.get_by_role("checkbox", name="Choose Rate 0.01", exact=True)).to_be_checked()
    table.get_by_role("checkbox", name="Choose Rate 0.1", exact=True).check()
    expect(seen).to_have_text("Rate 0.01, Rate 0.1")

    table.get_by_role("button", name="Delete…").click()
    stopped = farm.submit(farm.packages()[0].name, title="Rate of others", min_cpu_cores=512)
    stopped.stop()
    expect(table.get_by_role("link", name="Rate of others", exact=True)).to_be_visible()
    expect(table.get_by_role("button", name="Cancel", exact=True)).to_be_focused()
    table.get_by_role("button", name="Delete 2").click()
    expect(table.get_by_text("Deleted 2 tasks.")).to_be_visible()
    expect(table.get_by_role("link", name="Rate 0.1", exact=True)).to_be_hidden()
    assert len(farm.trash()) == 2
    table.get_by_role("button", name="Undo").click()
    expect(table.get_by_role("link", name="Rate 0.1", exact=True)).to_be_visible()
    assert len(farm.trash()) == 0
