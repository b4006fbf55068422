"""The notebooks, run as a reader runs them: a kernel of their own, on a real farm."""

import os
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

from aifarm.cli.localfarm import LocalFarm
from aifarm.sdk.config import read_token

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFarm]:
    with LocalFarm(tmp_path_factory.mktemp("farm"), agents=1) as farm:
        yield farm


@pytest.fixture
def reader(small: LocalFarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names the farm, and a kernel that is this interpreter."""
    write_kernel_spec(tmp_path / "kernels" / "python3")
    settings = {
        "AIFARM_URL": small.url,
        "AIFARM_TOKEN": read_token(small.token_file),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "agent")]),
        "JUPYTER_PATH": str(tmp_path),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def shown(name: str) -> dict[str, str]:
    """What each cell of a notebook shows once it has run. Raises where a cell does."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    folder = {"metadata": {"path": str(NOTEBOOKS)}}
    NotebookClient(notebook, timeout=100, resources=folder).execute()
    return {cell.id: str(cell.get("outputs", "")) for cell in notebook.cells}


@pytest.mark.usefixtures("reader")
def test_from_cells_to_a_curve_and_the_weights(small: LocalFarm) -> None:
    cells = shown("quickstart")
    with small.connect() as farm:
        (task,) = farm.tasks(name="digit-reader")
        assert (task.metrics_latest["final_accuracy"] or 0) > 0.85
    assert "completed, 100 %" in cells["watch"]
    assert "<table" in cells["curve"]
    assert "All keys matched" in cells["weights"]


@pytest.mark.slow
@pytest.mark.usefixtures("reader")
def test_a_program_runs_as_it_is() -> None:
    cells = shown("your-existing-script")
    assert "completed" in cells["submit"]
    assert "epoch 12/12 loss" in cells["log"]


@pytest.mark.slow
@pytest.mark.usefixtures("reader")
def test_a_package_is_trained_with_several_settings_and_compared() -> None:
    cells = shown("declarative")
    assert cells["compare"].count("completed") >= 3
    assert "All keys matched" in cells["weights"]


@pytest.mark.slow
@pytest.mark.usefixtures("reader")
def test_what_was_stopped_ends_with_the_weights_of_what_was_not() -> None:
    cells = shown("resume-and-compare")
    assert "stopped" in cells["stop"]
    assert "is what it was" in cells["log"]
    assert "True" in cells["compare"]
    assert "False" not in cells["compare"]


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_kept_without_what_it_showed(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
