import sys

import pytest

from aifarm.train.package import MESSAGE_LIMIT, PackageInvalid, explain, load

REQUIRED = ("build_model", "build_data")
COMPLETE = "def build_model(cfg): ...\ndef build_data(cfg): ...\n"


@pytest.fixture(autouse=True)
def _restore_imports(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    path, modules, bytecode = sys.path[:], set(sys.modules), sys.dont_write_bytecode
    yield
    sys.path[:], sys.dont_write_bytecode = path, bytecode
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def message(tmp_path, source, entry="model.py"):
    (tmp_path / entry).write_text(source)
    with pytest.raises(PackageInvalid) as caught:
        load(tmp_path, entry, REQUIRED)
    return str(caught.value)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "import os\n\nimport foo_bar\n",
            "model.py does not import: No module named 'foo_bar' (line 3)",
        ),
        ("x = 1\ndef f(:\n", "model.py does not import: invalid syntax (line 2)"),
        ("y = 1 / 0\n", "model.py does not import: division by zero (line 1)"),
        ("{}['key']\n", "model.py does not import: KeyError 'key' (line 1)"),
        ("import sys\nsys.exit(3)\n", "model.py does not import: it called sys.exit(3) (line 2)"),
        ("def build_model(cfg): ...\n", "model.py has no function build_data(cfg)"),
        ("build_model = 1\n", "model.py has no function build_model(cfg)"),
    ],
)
def test_a_package_that_cannot_be_used_is_explained_in_a_sentence(tmp_path, source, expected):
    assert message(tmp_path, source) == expected


def test_the_place_may_be_in_another_file_of_the_package(tmp_path):
    (tmp_path / "af_helper.py").write_text("\nimport foo_bar\n")
    expected = "model.py does not import: No module named 'foo_bar' (af_helper.py line 2)"
    assert message(tmp_path, "import af_helper\n" + COMPLETE) == expected


def test_a_missing_entry_is_named(tmp_path):
    with pytest.raises(PackageInvalid, match=r"the package has no model\.py"):
        load(tmp_path, "model.py", REQUIRED)


@pytest.mark.parametrize("entry", ["json.py", "random.py", "wave.py", "my-model.py"])
def test_an_entry_may_be_called_like_a_module_of_the_standard_library(tmp_path, entry):
    import json

    (tmp_path / entry).write_text(
        "from dataclasses import dataclass\n@dataclass\nclass A:\n  x: int\n" + COMPLETE
    )
    package = load(tmp_path, entry, REQUIRED)
    assert package.A(1).x == 1
    assert sys.modules["json"] is json


def test_modules_beside_the_entry_import_first_and_the_folder_stays_as_it_is(tmp_path):
    (tmp_path / "af_parts.py").write_text("answer = 42\n")
    (tmp_path / "model.py").write_text("from af_parts import answer\n" + COMPLETE)
    assert load(tmp_path, "model.py", REQUIRED).answer == 42
    assert sys.path[0] == str(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["af_parts.py", "model.py"]


def test_a_long_message_is_cut_to_one_line(tmp_path):
    reason = explain(ValueError("x" * 10_000 + "\nsecond line"), tmp_path)
    assert reason == "x" * MESSAGE_LIMIT


def test_an_error_without_a_text_is_named_by_its_kind(tmp_path):
    assert explain(AssertionError(), tmp_path) == "AssertionError"
