"""A notebook on a real farm: the magics, and what of farms, tasks and runs is left in its file."""

import os
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from nbformat.v4 import new_code_cell, new_notebook

from aifarm.local.farm import LocalFarm
from aifarm.sdk.config import read_token

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]

TRAIN = """\
%%farm magic epochs=3 title='By a magic' config.width=3
import torch
from torch import nn
from torch.utils.data import TensorDataset

defaults = {"width": 2}

def build_model(cfg):
    return nn.Sequential(nn.Linear(4, cfg["width"]), nn.Linear(cfg["width"], 2))

def build_data(cfg):
    return TensorDataset(torch.randn(64, 4), torch.randint(0, 2, (64,)))"""

CELLS = {
    "load": "import aifarm\nfarm = aifarm.connect()\n%load_ext aifarm_jupyter",
    "train": TRAIN,
    "wait": "task = farm.tasks(name='magic')[0].wait()",
    "task": "task",
    "farm": "farm",
    "runs": "%farm",
    "table": "from aifarm_jupyter import RunsTable\n"
    "RunsTable(farm, submitter='me', where='metrics.loss.last>1000', columns=['config.width'])",
    "option": "%%farm magic epoch=3\nx = 1",
    "broken": "%%farm magic\nnothing_of_that_name",
    "lacking": "%%farm magic\ndel build_data",
    "form": "from aifarm_jupyter import SubmitForm\nSubmitForm(farm)",
}


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nbformat.NotebookNode]:
    """As it is saved once all of its cells ran."""
    home = tmp_path_factory.mktemp("home")
    write_kernel_spec(home / "kernels" / "python3")
    paths = os.pathsep.join(str(ROOT / part) for part in ("", "agent", "jupyter_ext"))
    with LocalFarm(home / "farm", agents=1) as farm, pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AIFARM_URL": farm.url,
            "AIFARM_TOKEN": read_token(farm.token_file),
            "PYTHONPATH": paths,
            "JUPYTER_PATH": str(home),
            "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "IPYTHONDIR": str(home / "ipython"),
        }.items():
            patch.setenv(name, value)
        made = new_notebook(cells=[new_code_cell(cell, id=name) for name, cell in CELLS.items()])
        # As Lab saves it: what a widget was like is not kept, its picture is.
        NotebookClient(
            made,
            timeout=200,
            allow_errors=True,
            store_widget_state=False,
            resources={"metadata": {"path": str(home)}},
        ).execute()
        yield nbformat.reads(nbformat.writes(made), as_version=4)


def outputs(notebook: nbformat.NotebookNode, cell: str) -> list[nbformat.NotebookNode]:
    return next(list(one.outputs) for one in notebook.cells if one.id == cell)


def shown(notebook: nbformat.NotebookNode, cell: str) -> dict[str, str]:
    """What the cell left, by its type."""
    found = [one for one in outputs(notebook, cell) if "data" in one]
    assert found, outputs(notebook, cell)
    return dict(found[-1].data)


def said(notebook: nbformat.NotebookNode, cell: str) -> str:
    """What the cell wrote; it raised nothing that is shown as a traceback."""
    assert not [one for one in outputs(notebook, cell) if one.output_type == "error"]
    return "".join(one.get("text", "") for one in outputs(notebook, cell))


def test_a_cell_is_trained_by_a_magic_and_shows_its_task(notebook: nbformat.NotebookNode) -> None:
    assert "application/vnd.jupyter.widget-view+json" in shown(notebook, "train")
    text = shown(notebook, "task")["text/plain"]
    assert text.startswith("Task By a magic: completed, 100 %\n")
    assert "metrics" in text


def test_a_saved_notebook_has_a_picture_of_the_curve(notebook: nbformat.NotebookNode) -> None:
    picture = shown(notebook, "task")["text/html"]
    assert "<svg" in picture
    assert "<polyline" in picture
    assert "By a magic" in picture
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert "<polyline" in page


def test_a_saved_notebook_has_the_machines_and_the_runs(notebook: nbformat.NotebookNode) -> None:
    assert "<table>" in shown(notebook, "farm")["text/html"]
    assert "Machines" in shown(notebook, "farm")["text/plain"]
    assert "By a magic" in shown(notebook, "runs")["text/html"]


def test_the_picture_of_the_runs_has_what_was_asked_for(notebook: nbformat.NotebookNode) -> None:
    assert shown(notebook, "table")["text/html"] == "<p>No task is like that.</p>"


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("option", "UsageError: There is no option epoch"),
        ("lacking", "UsageError: `build_data` was deleted"),
    ],
)
def test_what_a_magic_cannot_do_is_one_sentence(
    notebook: nbformat.NotebookNode, cell: str, words: str
) -> None:
    text = said(notebook, cell)
    assert text.startswith(words)
    assert len(text.splitlines()) == 1


def test_a_cell_that_fails_shows_its_own_traceback_once(notebook: nbformat.NotebookNode) -> None:
    raised = [one for one in outputs(notebook, "broken") if one.output_type == "error"]
    assert [one.ename for one in raised] == ["NameError"]
    assert "nothing was published" in str(outputs(notebook, "broken"))


def test_a_form_is_made_in_a_kernel(notebook: nbformat.NotebookNode) -> None:
    assert "application/vnd.jupyter.widget-view+json" in shown(notebook, "form")
