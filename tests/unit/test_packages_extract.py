"""Functions leave a notebook by their source, with all they use and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifarm.packages import CannotTravel, defined, extract

USE = "def f():\n    return x"


def names_of(text: str) -> dict[str, object]:
    """What the file leaves behind when it is run."""
    names: dict[str, object] = {}
    exec(compile(text, "model.py", "exec"), names)
    return names


def refused(cells: list[str], *wanted: str) -> str:
    with pytest.raises(CannotTravel) as raised:
        extract(cells, wanted)
    return str(raised.value)


def test_what_a_function_uses_is_followed_through_the_cells() -> None:
    cells = [
        "import math, json\nfrom os import path, sep",
        "SCALE = 3\nUNUSED = 4",
        "class Base:\n    factor = SCALE",
        "class Net(Base):\n    def area(self, r):\n        return scaled(r) * math.pi",
        "def scaled(r):\n    return [r * Net.factor for _ in range(1)][0]",
        "def build_model(cfg): return Net()",
    ]
    text = extract(cells, ["build_model"]).text
    net = names_of(text)["build_model"]({})  # type: ignore[operator]
    assert round(net.area(2), 3) == 18.85
    assert text.startswith("import math\n\nSCALE = 3\n\n\nclass Base:")
    assert "UNUSED" not in text


def test_the_last_definition_that_ran_wins_wherever_its_cell_stands() -> None:
    assert "return 2" in extract(["def f():\n    return 1", "def f():\n    return 2"], ["f"]).text


def test_the_same_definitions_give_the_same_file_however_often_they_ran() -> None:
    cells = ["import os", "WIDTH = 2", "def f():\n    return os.sep * WIDTH"]
    again = ["1 + 1", *cells, "print(f())", *cells, "f()"]
    assert extract(again, ["f"]).text == extract(cells, ["f"]).text


def test_definitions_come_in_the_order_in_which_they_can_run() -> None:
    cells = [
        "def first():\n    return second()",
        "def second():\n    return 1",
        "X = first()",
        "class A:\n    def other(self):\n        return B()",
        "class B(A):\n    pass",
        "def second():\n    return 2",
        "X = first()",
    ]
    names = names_of(extract(cells, ["X", "A"]).text)
    assert names["X"] == 2
    assert type(names["A"]().other()) is names["B"]  # type: ignore[operator]


def test_a_name_that_several_assignments_share_has_its_last_value() -> None:
    names = names_of(extract(["a, b = 1, 2", "a = 3", "c = a + b"], ["c"]).text)
    assert (names["a"], names["b"], names["c"]) == (3, 2, 5)


def test_comments_travel_with_what_they_explain() -> None:
    cell = '# not this\n\n# The width,\n# of all\nWIDTH = 4  # features\n\ndef f():\n    """a\n\n    b """\n    return WIDTH'  # noqa: E501
    text = extract([cell], ["f"]).text
    assert text.startswith("# The width,\n# of all\nWIDTH = 4  # features\n\n\ndef f():")
    assert '"""a\n\n    b """' in text


def test_every_line_knows_its_cell() -> None:
    cells = ["import os; X = 'ä'; Y = os.sep", "\n# c\n@str\ndef f():\n    return X + Y"]
    source = extract(cells, ["f"])
    lines = source.text.splitlines()
    assert source.place(lines.index("X = 'ä'") + 1) == (1, 1)
    assert source.place(lines.index("    return X + Y") + 1) == (2, 5)
    assert source.place(lines.index("") + 1) is None
    assert source.values == ("X", "Y")


def test_a_choice_between_definitions_travels_whole() -> None:
    cell = (
        "try:\n    import no_such_module as fast\nexcept ImportError:\n    fast = None\n"
        "if fast is None:\n    def f():\n        return 'slow'\nelse:\n    f = fast.f"
    )
    names = names_of(extract([cell], ["f"]).text)
    assert names["f"]() == "slow"  # type: ignore[operator]


def test_imports_of_two_submodules_are_both_kept() -> None:
    text = extract(["import xml.dom", "import xml.sax", "def f():\n    return xml.dom"], ["f"]).text
    assert "import xml.dom\nimport xml.sax\n" in text


def test_a_future_import_counts_for_what_came_after_it() -> None:
    cells = ["from __future__ import annotations", "X = 1", "def f() -> X:\n    return X"]
    assert extract(cells, ["f"]).text.startswith("from __future__ import annotations\n\nX = 1")


def test_a_star_import_stands_for_names_that_no_cell_binds() -> None:
    names = names_of(extract(["from math import *", "def f():\n    return floor(2.5)"], ["f"]).text)
    assert names["f"]() == 2  # type: ignore[operator]


def test_locals_arguments_and_builtins_are_no_one_elses_names() -> None:
    cells = [
        "for x in range(3):\n    y = x",
        "def f(x):\n    y = [x for x in range(x)]\n    return len(y), (lambda x: x)(1), __name__",
    ]
    assert "for x in range(3):\n" not in extract(cells, ["f"]).text


@pytest.mark.parametrize(
    ("cell", "why"),
    [
        ("for x in range(3):\n    pass", "made by a for loop (In [1] line 1)"),
        ("while True:\n    x = 1\n    break", "made by a while loop"),
        ("with open('x') as x:\n    pass", "made in a with block"),
        ("\nx = 1\ndel x", "deleted (In [1] line 3)"),
        ("x = 1\nx += 1", "made from its own earlier value (In [1] line 2)"),
        ("x = []\nx.append(1)", "changed after it was made (In [1] line 2)"),
        ("x = {}\nx['a'] = 1", "changed after it was made"),
        ("class x: pass\nx.y = 1", "changed after it was made"),
        ("x = 0\ndef g():\n    global x\n    x += 1", "set by a function, as global"),
        ("x = input()", "made by input()"),
        ("x = open('data').read()", "made by open()"),
        ("x = get_ipython().getoutput('ls')", "made by a command of the notebook"),
        ("import ipywidgets as x", "comes from ipywidgets, which works in a notebook only"),
        ("print(x := 1)", "made by a statement that does more than define"),
        ("x = await g()", "does more than compute"),
        ("if True:\n    print()\n    x = 1", "made in an if block that does more than define"),
        ("1 + ", "comes from no cell that ran"),
        ("", "comes from no cell that ran"),
    ],
)
def test_what_cannot_be_made_again_is_refused_where_it_is_used(cell: str, why: str) -> None:
    told = refused([cell, USE], "f")
    assert "`x`, which f uses (In [2] line 2), " in told
    assert why in told


def test_all_problems_are_told_at_once_and_each_name_once() -> None:
    cells = ["def f():\n    display(a)\n    return a, b", "def g():\n    return a"]
    with pytest.raises(CannotTravel) as raised:
        extract(cells, ["f", "g", "h"])
    problems = [(one.name, one.cell, one.line) for one in raised.value.problems]
    assert problems == [("a", 1, 2), ("b", 1, 3), ("display", 1, 2), ("h", None, None)]


def test_what_was_made_from_something_that_has_changed_is_to_be_made_again() -> None:
    cells = ["WIDTH = 1", "DOUBLE = 2 * WIDTH", "WIDTH = 3", "def f():\n    return DOUBLE"]
    assert "(In [3] line 1): run In [2] again" in refused(cells, "f")
    assert extract([*cells, "DOUBLE = 2 * WIDTH"], ["f"])


def test_what_a_notebook_defines_has_a_kind() -> None:
    cells = ["import os\ndef f(): ...\nclass C: ...\nx = 1\nfor y in []: ...", "f = 1\ndel x"]
    kinds = {"os": ["import"], "f": ["function", "value"], "C": ["class"], "x": ["value", ""]}
    assert defined(cells) == {**kinds, "y": [""]}


NAMES = st.sampled_from("abcd")
CELL = st.builds(
    "{} = {} + {}".format, NAMES, st.integers(0, 9), st.one_of(NAMES, st.integers(0, 9))
) | st.builds("def {}_of(): return {}".format, NAMES, NAMES)


@given(st.lists(CELL, min_size=1, max_size=12))
def test_the_file_has_the_notebooks_values_or_is_refused(cells: list[str]) -> None:
    """What did run in a notebook, in this order, and travels, is worth the same there."""
    notebook: dict[str, object] = {}
    cells = ["a = b = c = d = 1", *cells]
    for cell in cells:
        exec(cell, notebook)
    for name in notebook.keys() - {"__builtins__"}:
        try:
            elsewhere = names_of(extract(cells, [name]).text)
        except CannotTravel:
            continue
        assert worth(elsewhere[name]) == worth(notebook[name])


def worth(value: object) -> object:
    """What a value is, or what a function returns."""
    return value() if callable(value) else value
