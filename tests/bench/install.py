"""`pip install 'aifarm[jupyter]'` into a fresh environment: what it takes, beside JupyterLab alone.

The wheel is built here; everything else comes from the registry, and nothing from pip's cache.
"""

import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from bench.farm import WORKSPACE
from bench.stats import Figure


def _wheel(folder: Path) -> Path:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, check=True, stdout=sys.stderr)
    (wheel,) = folder.glob("*.whl")
    return wheel


def _size(folder: Path) -> int:
    """Bytes of the files below, links not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _install(folder: Path, requirement: str) -> tuple[float, float]:
    """(seconds, MB that it added to an empty environment)."""
    venv.create(folder, with_pip=True)
    before = _size(folder)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-cache-dir"]
    began = time.perf_counter()
    subprocess.run([*pip, requirement], check=True, stdout=sys.stderr)
    return time.perf_counter() - began, (_size(folder) - before) / 1e6


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory(dir=WORKSPACE) as name:
        folder = Path(name).resolve()
        wheel = _wheel(folder)
        ours = _install(folder / "ours", f"{wheel}[jupyter]")
        lab = _install(folder / "lab", "jupyterlab")
        torch = (folder / "ours").glob("lib/python*/site-packages/torch")
        note = "brings torch" if list(torch) else "without torch"
    what = "pip install 'aifarm[jupyter]'"
    return [
        Figure("install", f"{what}, size", ours[1], "MB", note=f"jupyterlab alone: {lab[1]:.0f}"),
        Figure("install", f"{what}, time", ours[0], "s", note=f"jupyterlab alone: {lab[0]:.0f}"),
        Figure("install", "beyond JupyterLab itself", ours[1] - lab[1], "MB", note=note),
    ]
