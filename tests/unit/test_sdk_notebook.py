"""Cells on their way into a package: what is taken, and what a clean process says of it."""

import functools
import linecache
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from torch import nn

from aifarm.packages import extract
from aifarm.sdk import InvalidRequest
from aifarm.sdk.alike import check_code
from aifarm.sdk.notebook import Notebook, python, try_out

MODEL = """\
import torch
from torch import nn
from torch.utils.data import TensorDataset

def build_model(cfg):
    return nn.Linear(2, cfg.get("width", 1))

def build_data(cfg):
    return TensorDataset(torch.zeros(8, 2), torch.zeros(8, 1))
"""


def tried(cells: Sequence[str], model: object = None, **names: object) -> str:
    """What a clean process has against the cells of a notebook with these names; "" if nothing."""
    notebook = Notebook(Notebook.of(cells).cells, names)
    source = notebook.source([], None)
    try:
        try_out(notebook, source, model, timeout=100)
    except InvalidRequest as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("cell", "line"),
    [
        ("\n\n%matplotlib inline\nX = 1", "X = 1"),
        ("%%time\n!ls\nX = 1", "X = 1"),
        ("files = !ls", "files = get_ipython().getoutput('ls')"),
        ("%%bash\necho X = 1", "get_ipython().run_cell_magic('bash', '', 'echo X = 1\\n')"),
    ],
)
def test_commands_of_a_notebook_become_python_and_lines_keep_their_numbers(
    cell: str, line: str
) -> None:
    lines = python(cell).splitlines()
    assert lines[-1] == line
    assert line.startswith("get_ipython()") or len(lines) == len(cell.splitlines())


def test_without_a_notebook_the_cells_are_asked_for() -> None:
    with pytest.raises(InvalidRequest, match="No notebook runs here"):
        Notebook.running()


def test_all_that_a_package_may_have_is_taken_and_other_names_are_not() -> None:
    cells = [MODEL, "def metrics(out, batch): ...", "loss = 0.5", "defaults = {'width': 1}"]
    text = Notebook.of(cells).source([], None).text
    assert "def metrics(" in text
    assert "loss" not in text
    assert "defaults = {'width': 1}" in text


def test_only_what_is_named_is_taken_and_defaults_may_be_given() -> None:
    cells = [MODEL, "def metrics(out, batch): ...", "defaults = {'width': 1}"]
    text = Notebook.of(cells).source(["build_model", "build_data"], {"width": 4}).text
    assert "metrics" not in text
    assert text.endswith("\n\ndefaults = {'width': 4}\n")


def test_a_function_whose_name_is_a_number_now_is_not_left_out_in_silence() -> None:
    cells = [MODEL, "def loss(out, batch): ...", "for loss in [0.5]: ..."]
    with pytest.raises(InvalidRequest, match="`loss` was a function, and is none now"):
        Notebook.of(cells).source([], None)
    assert Notebook.of(cells).source(["build_model", "build_data"], None)


def test_what_can_be_taken_along_is_listed_with_a_packages_parts_first() -> None:
    cells = ["class Net: ...", "loss = 0.5", "def helper(): ...", MODEL, "defaults = {}", "x = 1"]
    offers = Notebook.of(cells).offers()
    assert [(one.name, one.kind, one.part) for one in offers] == [
        ("build_model", "function", True),
        ("build_data", "function", True),
        ("defaults", "value", True),
        ("Net", "class", False),
        ("helper", "function", False),
    ]


def test_a_package_lacks_none_of_its_two_functions() -> None:
    with pytest.raises(InvalidRequest, match="define build_data"):
        Notebook.of(["def build_model(cfg): ..."]).source([], None)


def test_a_function_that_the_notebook_has_replaced_is_refused() -> None:
    def build_model(cfg: object) -> None: ...

    def newer(cfg: object) -> None: ...

    with pytest.raises(InvalidRequest, match="build_model is not what this notebook means"):
        Notebook([MODEL], {"build_model": newer}).source([build_model, "build_data"], None)


def test_problems_come_with_their_cells_and_lines() -> None:
    with pytest.raises(InvalidRequest) as raised:
        Notebook.of([MODEL, "\ndef loss(out, batch):\n    return scale * out"]).source([], None)
    (problem,) = raised.value.details["problems"]  # type: ignore[misc]
    assert (problem["name"], problem["cell"], problem["line"]) == ("scale", 2, 3)


def test_what_fails_in_a_clean_process_is_told_with_its_place_in_the_notebook() -> None:
    cells = [
        "",
        "%%time\n" + MODEL.replace("cfg.get(", "missing("),
        "def missing(*_): return 1 / 0",
    ]
    told = tried(cells)
    assert told == "In a clean process, build_model failed: division by zero (In [3] line 1)."


def ran(cell: str) -> dict[str, object]:
    """What a cell leaves behind in a kernel, which remembers its text."""
    names: dict[str, object] = {}
    file = f"<cell {hash(cell)}>"
    linecache.cache[file] = (len(cell), None, cell.splitlines(keepends=True), file)
    exec(compile(cell, file, "exec"), names)
    return names


@pytest.mark.parametrize(
    ("says", "other"),
    [
        ("def f(x):\n    return [x for y in x]", "def f(x):\n    return [y for y in x]"),
        ("class f:\n    def g(self): return 1", "class f:\n    def g(self): return 2"),
        ("def f(): ...", "f = 3"),
        ("def f(): ...", ""),
    ],
)
def test_what_a_cell_says_is_what_the_notebook_has(says: str, other: str) -> None:
    """A cell that fails in its middle has not defined the rest."""
    source = extract(["", "\n# about\n" + says], ["f"])
    check_code(source, ran("a = 1\n" + says))
    with pytest.raises(InvalidRequest, match=r"`f` is not .* what In \[2\] line 3 makes it"):
        check_code(source, ran(other))


def test_what_a_decorator_made_is_not_judged() -> None:
    source = extract(["import functools", "@functools.cache\ndef f(): ..."], ["f"])
    check_code(source, {"f": functools.cache(len)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ([MODEL], ""),
        (["import of_this_folder as o", MODEL.replace("nn.Linear", "o.x")],
         "the import failed: No module named 'of_this_folder' (In [1] line 1)."),
        ([MODEL.replace("zeros(8, 2)", "zeros(8, 3)")], "the forward pass failed: mat1 and mat2"),
        ([MODEL.replace('.get("width", 1)', '["width"]')], "defaults = {...}"),
        ([MODEL, "def loss(out, batch):\n    import os; os._exit(3)"], "ended with 3"),
        ([MODEL, "STEPS = [1]", "def loss(out, batch):\n    return out.mean() * STEPS[0]"],
         "`STEPS` is [1, 2] in the notebook, but its cell makes it [1]"),
    ],
)  # fmt: skip
def test_a_first_step_in_a_clean_process(
    cells: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "of_this_folder.py").write_text("x = 1")  # beside the notebook, it stays there
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for cell in cells:
        with suppress(ImportError):
            exec(cell, names)
    said = tried(cells, **{**names, "STEPS": [1, 2]})
    assert told in said
    assert bool(told) == bool(said)


@pytest.mark.slow
def test_the_model_must_be_the_one_that_the_notebook_has() -> None:
    told = tried([MODEL], model=nn.Linear(2, 3))
    assert "weight is [1, 2] there, [3, 2] here (2 entries differ)" in told


@pytest.mark.slow
def test_a_step_without_an_end_is_given_up() -> None:
    notebook = Notebook.of([MODEL, "def loss(out, batch):\n    while True: pass"])
    with pytest.raises(InvalidRequest, match="more than 3 s"):
        try_out(notebook, notebook.source([], None), timeout=3)
