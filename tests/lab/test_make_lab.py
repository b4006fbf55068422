"""`make lab`, as a newcomer runs it: in a terminal, on a taken port, in an empty home."""

import filecmp
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

from lab.conftest import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/lab/tree/quickstart\.ipynb\?token=\w+")
ASKED = "Shut down this Jupyter server"

expect.set_options(timeout=PATIENCE)


class Terminal:
    """A program in a terminal of its own; `interrupt` is Ctrl-C there."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self.said = ""
        self._screen, keyboard = pty.openpty()
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=keyboard,
            stdout=keyboard,
            stderr=keyboard,
            start_new_session=True,
        )
        os.close(keyboard)

    def until(self, pattern: str | re.Pattern[str]) -> str:
        """Reads on until it has said so; returns that."""
        while (found := re.search(pattern, self.said)) is None:
            try:
                piece = os.read(self._screen, 4096)
            except OSError:  # nobody writes there any more
                raise AssertionError(self.said) from None
            self.said += piece.decode(errors="replace")
        return found[0]

    def interrupt(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def close(self) -> None:
        """Reads what is left, until the program has ended."""
        try:
            while os.read(self._screen, 4096):
                pass
        except OSError:
            pass
        self.process.wait(timeout=60)
        os.close(self._screen)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What `make lab` uses of one, in a path with a space."""
    copy = tmp_path / "a copy"
    for folder in ("notebooks", "examples"):
        shutil.copytree(ROOT / folder, copy / folder)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def of_home(home: Path) -> list[psutil.Process]:
    """Every process that lives in this home folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_the_first_notebook_trains_and_ctrl_c_leaves_nothing_running(
    checkout: Path, tmp_path: Path, taken_port: int, page: Page
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    ready = checkout / "ready"
    ready.touch()  # the environment is this one
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIFARM", "JUPYTER", "XDG"))}
    command = ["make", "lab", f'PY="{sys.executable}"', "READY=ready"]
    command.append(f"ARGS=--no-browser --ServerApp.port={taken_port}")
    terminal = Terminal(command, checkout, {**kept, "HOME": str(home), "OMP_NUM_THREADS": "1"})
    try:
        page.goto(terminal.until(ADDRESS))
        expect(page.get_by_text("(ipykernel) | Idle")).to_be_visible()
        page.faults.clear()  # type: ignore[attr-defined]  # the farm was still starting
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        card = page.locator(".jp-Notebook .af-task")
        expect(card.locator(".af-badge").first).to_have_text("completed")
        expect(page.locator(".jp-Notebook .af-runs tbody tr")).to_have_count(1)
        page.close()
        terminal.interrupt()
        terminal.until(ASKED)
    finally:
        terminal.interrupt()
        terminal.close()
    _, alive = psutil.wait_procs(of_home(home), timeout=60)
    assert alive == []
    assert not list(home.glob(".local/share/jupyter/runtime/aifarm-*"))
    _, changed, wrong = filecmp.cmpfiles(
        ROOT / "notebooks", checkout / "notebooks", os.listdir(ROOT / "notebooks"), shallow=False
    )
    assert (changed, wrong) == ([], [])
