"""An environment with the oldest JupyterLab that is supported."""

import os
import subprocess
import venv
from pathlib import Path

import pytest

JUPYTERLAB = "4.0.13"
REPOSITORY = Path(__file__).parents[2]
PLACE = REPOSITORY / "build" / f"jupyterlab-{JUPYTERLAB}"


def python_with_oldest_lab() -> str:
    """The Python of an environment with that JupyterLab and a wheel of this tree. What is not ours
    is installed once; where that cannot be had, the test is skipped, and fails in CI."""
    python = PLACE / "bin" / "python"
    ready = PLACE / "ready"
    try:
        if not ready.exists():
            venv.create(PLACE, clear=True, with_pip=True)
            _pip(python, "hatchling", f"jupyterlab=={JUPYTERLAB}", f"{REPOSITORY}[jupyter]")
            ready.touch()
        _pip(python, "--no-build-isolation", "--no-deps", "--force-reinstall", str(REPOSITORY))
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().rpartition("\n")[2]
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(f"JupyterLab {JUPYTERLAB} cannot be installed here: {last}")
    return str(python)


def _pip(python: Path, *what: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", *what]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run(command, check=True, capture_output=True, text=True, env=clean)
