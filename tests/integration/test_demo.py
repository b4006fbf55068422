"""`make demo`, as a newcomer runs it: from a path with spaces, on a taken port."""

import re
import runpy
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import psutil
import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def port_taken() -> Iterator[None]:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8765))
            taken.listen()
        except OSError:
            pass  # somebody else takes it: as good
        yield


@pytest.mark.slow
def test_the_demo_trains_two_tasks_and_leaves_nothing_but_the_weights(tmp_path: Path) -> None:
    copy = tmp_path / "a copy of it"
    shutil.copytree(EXAMPLES, copy / "examples")
    data = tmp_path / "demo data"
    with port_taken():
        done = subprocess.run(
            [sys.executable, str(copy / "examples" / "demo.py"), "--data-dir", str(data)],
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Port 8765 is taken, so this farm uses" in done.stdout
    assert all(float(x) >= 0.95 for x in re.findall(r"test accuracy ([\d.]+)", done.stdout))
    paths = [Path(path) for path in re.findall(r"checkpoint (/.*\.pt)", done.stdout)]
    sums = re.findall(r"sha256 +([0-9a-f]{64})", done.stdout)
    assert [sha256(path.read_bytes()).hexdigest() for path in paths] == sums
    assert len(paths) == 2
    lines = [line.strip() for line in done.stdout.splitlines() if line.startswith("    ")]
    for start in (0, 3):
        namespace = tmp_path / f"lines{start}.py"
        namespace.write_text("\n".join(lines[start : start + 3]))
        model = runpy.run_path(str(namespace))["model"]
        assert isinstance(model, torch.nn.Module)
    for process in psutil.process_iter(["cmdline"]):
        assert str(data) not in " ".join(process.info["cmdline"] or [])
