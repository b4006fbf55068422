"""The notebooks, and the programs that the pages show, run as a reader runs them: on a real farm,
cells in a kernel of their own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from aifarm.local.farm import LocalFarm
from aifarm.sdk.config import read_token

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFarm]:
    with LocalFarm(tmp_path_factory.mktemp("farm"), agents=2) as farm:
        yield farm


@pytest.fixture
def reader(small: LocalFarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names the farm, and a kernel that is this interpreter."""
    write_kernel_spec(tmp_path / "kernels" / "python3")
    settings = {
        "AIFARM_URL": small.url,
        "AIFARM_TOKEN": read_token(small.token_file),
        "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("", "agent", "jupyter_ext")),
        "JUPYTER_PATH": str(tmp_path),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def shown(name: str) -> dict[str, str]:
    """What each cell of a notebook shows, by its id. Raises where a cell does."""
    return run(nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4), NOTEBOOKS)


def run(notebook: nbformat.NotebookNode, folder: Path) -> dict[str, str]:
    NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(folder)}}).execute()
    return {cell.id: str(cell.get("outputs", "")) for cell in notebook.cells}


def of_cells(*cells: str) -> nbformat.NotebookNode:
    return new_notebook(
        cells=[new_code_cell(cell, id=f"cell-{number}") for number, cell in enumerate(cells, 1)]
    )


def files_of(page: str) -> dict[str, str]:
    """The programs that a page shows, by the names of their files."""
    marked = r"<!-- file: (\S+) -->\n```python\n(.*?)```"
    return dict(re.findall(marked, (ROOT / page).read_text(), re.DOTALL))


@pytest.mark.usefixtures("reader")
def test_from_cells_to_a_curve_and_the_weights(small: LocalFarm) -> None:
    cells = shown("quickstart")
    with small.connect() as farm:
        (task,) = farm.tasks(name="spirals")
        assert (task.metrics_latest["final_accuracy"] or 0) > 0.9
    assert "application/vnd.jupyter.widget-view+json" in cells["submit"]
    assert "text/html" in cells["submit"]
    assert cells["curve"].count(": 0.9") > 1
    assert "All keys matched" in cells["weights"]
    assert "●●●" in cells["seen"]


@pytest.mark.slow
@pytest.mark.usefixtures("reader")
def test_two_ranks_train_one_model_on_two_clients() -> None:
    cells = shown("distributed")
    assert "n_clients" in cells["where"]
    assert "agent-1" in cells["ranks"]
    assert "agent-2" in cells["ranks"]
    assert "2 ranks" in cells["pace"]
    assert cells["alone"].count(": 0.9") == 2
    assert "All keys matched" in cells["weights"]


@pytest.mark.slow
@pytest.mark.usefixtures("reader")
def test_a_script_submits_polls_pages_and_reads_errors_with_nothing_but_http() -> None:
    cells = shown("rest-from-scripts")
    assert "(201," in cells["submit"]
    assert "True" in cells["again"]
    assert "'completed'" in cells["poll"]
    assert "epochs" in cells["refused"]
    assert "409" in cells["conflict"]
    assert '"tasks":[' in cells["curl"]
    assert '"status":"pending"' in cells["curl-submit"]


@pytest.mark.slow
@pytest.mark.usefixtures("reader")
def test_an_administrator_changes_nothing_on_a_tour(small: LocalFarm) -> None:
    with small.connect() as farm:
        before = {token.id for token in farm.tokens() if not token.revoked_at}
        cells = shown("administrators-tour")
        assert {token.id for token in farm.tokens() if not token.revoked_at} == before
        assert not any(client.drained for client in farm.clients())
    assert "may not" in cells["viewer"]
    assert "token" in cells["revoke"]
    assert "a new disk" in cells["drain"]
    assert "too small" in cells["why"]
    assert "stopped" in cells["stop"]
    assert "aifarm_clients" in cells["prometheus"]
    assert "drained" in cells["client-events"]


@pytest.mark.slow
@pytest.mark.usefixtures("reader")
def test_a_program_runs_as_it_is() -> None:
    cells = shown("your-existing-script")
    assert "completed" in cells["wait"]
    assert "epoch 12/12 loss" in cells["log"]
    assert "out/last.pt" in cells["outputs"]


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
    assert "from_checkpoint" in cells["differences"]


@pytest.mark.slow
@pytest.mark.usefixtures("reader")
def test_the_cell_of_the_how_to_page_trains_the_functions_above_it(tmp_path: Path) -> None:
    model = files_of("docs/how-to/write-a-package.md")["model.py"]
    cell = files_of("docs/how-to/train-from-a-notebook.md")["cell.py"]
    cells = run(of_cells(model, cell, "task.wait().status, task.config['width']"), tmp_path)
    assert "('completed', 128)" in cells["cell-3"]


@pytest.mark.slow
@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("page", ["README.md", "docs/how-to/write-a-package.md"])
def test_the_package_that_a_page_shows_is_trained(page: str, tmp_path: Path) -> None:
    files = files_of(page)
    for name, source in files.items():
        (tmp_path / name).write_text(source)
    for name in files.keys() - {"model.py", "cell.py"}:
        subprocess.run([sys.executable, name], cwd=tmp_path, timeout=100, check=True)


@pytest.mark.slow
def test_the_loop_that_a_page_shows_trains_here_and_on_the_farm(
    small: LocalFarm, tmp_path: Path
) -> None:
    source = files_of("docs/how-to/bring-your-own-loop.md")["train.py"]
    (tmp_path / "train.py").write_text(source)
    subprocess.run([sys.executable, "train.py"], cwd=tmp_path, timeout=100, check=True)
    with small.connect() as farm:
        package = farm.publish(source, name="loop", kind="script", entry="train.py")
        task = farm.submit(package=package).wait(timeout=100)
        assert (task.metrics_latest["loss"] or 1) < 0.01


@pytest.mark.slow
@pytest.mark.usefixtures("reader")
def test_a_kernel_tells_what_ran_from_what_is_only_written(tmp_path: Path) -> None:
    """Cells with commands, run again, and one that failed in its middle."""
    cells = run(
        of_cells(
            "from aifarm.sdk.notebook import Notebook, try_out\nWIDTH = 1",
            "%%time\nimport torch\n%env A=1",
            "def build_data(cfg):\n    return torch.utils.data.TensorDataset(torch.ones(4, WIDTH))",
            "def build_model(cfg):\n    return torch.nn.Linear(WIDTH, 1)",
            "WIDTH = 2",
            "def loss(out, batch):\n    return out.mean()",
            "try:\n    exec('1 / 0')\n    fine = True\nexcept ZeroDivisionError:\n    fine = False",
            "notebook = Notebook.running()\nsource = notebook.source([], None)\n"
            "try_out(notebook, source, build_model({}))\nsource.text",
            "get_ipython().run_cell('1 / 0\\ndef loss(out, batch): return out.sum()', "
            "store_history=True)",
            "notebook = Notebook.running()\n"
            "try:\n    try_out(notebook, notebook.source([], None))\n"
            "except Exception as error:\n    display(str(error))",
        ),
        tmp_path,
    )
    assert "WIDTH = 2" in cells["cell-8"]
    assert "fine" not in cells["cell-8"]
    assert "`loss` is not in the notebook what In [" in cells["cell-10"]


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_is_kept_without_what_it_showed(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
