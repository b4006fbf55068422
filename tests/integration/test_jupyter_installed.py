"""What an installation brings: the extension is enabled by its files, and the panel is found."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FILES = {
    "data/etc/jupyter/jupyter_server_config.d/aifarm.json",
    "data/share/jupyter/labextensions/aifarm/package.json",
    "data/share/jupyter/labextensions/aifarm/static/remoteEntry.js",
}


@pytest.mark.slow
def test_jupyter_lists_the_extension_as_enabled_and_ok(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jupyter_server.extension.serverextension", "list"],
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    said = re.sub(r"\x1b\[\d+m", "", done.stdout + done.stderr)  # colours
    assert "aifarm_jupyter enabled" in said
    assert [line for line in said.splitlines() if "aifarm_jupyter" in line and "OK" in line]


def test_a_wheel_brings_all_three_packages_and_the_files_that_enable_them(tmp_path: Path) -> None:
    """Built from a copy, without a network."""
    code = f"import hatchling.build; print(hatchling.build.build_wheel({str(tmp_path)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )
    with zipfile.ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        names = set(wheel.namelist())
    data = {name.partition(".data/")[2] for name in names if ".data/" in name}
    assert data >= FILES
    assert {
        "aifarm/local/leash.py",
        "aifarm/web/static/lab.js",
        "aifarm_agent/cli.py",
        "aifarm_jupyter/loader.js",
    } <= names
