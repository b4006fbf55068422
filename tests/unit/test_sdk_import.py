"""`import aifarm` is light, and works where nothing but the training runtime is."""

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import aifarm

PACKAGE = Path(aifarm.__file__).parent
HEAVY = [
    "torch",
    "tornado",
    "sqlalchemy",
    "httpx",
    "msgspec",
    "websockets",
    "rich",
    "click",
    "numpy",
    "psutil",
]


def python(code: str, *options: str, path: str = "") -> str:
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": path, "PATH": ""},
        cwd="/",
        check=True,
    )
    return done.stdout.strip()


def test_importing_aifarm_loads_nothing_heavy() -> None:
    assert python(f"import sys, aifarm; print([m for m in {HEAVY} if m in sys.modules])") == "[]"


def test_the_sdk_loads_neither_torch_nor_the_server() -> None:
    code = "import sys, aifarm; aifarm.connect; print([m for m in {} if m in sys.modules])"
    assert python(code.format(["torch", "tornado", "sqlalchemy", "aifarm.app"])) == "[]"


def test_help_loads_neither_the_sdk_nor_rich() -> None:
    code = (
        "import sys; from aifarm.cli.app import run; run(['--help']);"
        "print([m for m in ['httpx', 'rich', 'torch', 'tornado'] if m in sys.modules])"
    )
    assert python(code).endswith("[]")


def test_a_foreign_interpreter_with_only_the_training_runtime_imports_it(tmp_path: Path) -> None:
    (tmp_path / "aifarm").mkdir()
    shutil.copy(PACKAGE / "__init__.py", tmp_path / "aifarm")
    shutil.copytree(PACKAGE / "train", tmp_path / "aifarm" / "train")
    # -S: no site-packages, so none of what AI Farm depends on.
    code = "import aifarm, aifarm.train; print(aifarm.__file__)"
    assert python(code, "-S", path=str(tmp_path)).startswith(str(tmp_path))


def test_the_package_module_is_python_3_9() -> None:
    compile((PACKAGE / "__init__.py").read_text(), "aifarm", "exec", dont_inherit=True)
    import ast

    ast.parse((PACKAGE / "__init__.py").read_text(), feature_version=(3, 9))


def test_every_public_name_is_there_and_no_other() -> None:
    for name in aifarm.__all__:
        assert getattr(aifarm, name) is not None
        assert name in dir(aifarm)
    assert aifarm.__version__ == version("aifarm")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = aifarm.nonsense  # type: ignore[attr-defined]
