"""Schemathesis takes the reference at its word and tries all its checks on a real server."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from integration.running import RunningServer

HERE = Path(__file__).parent
REFERENCE = HERE.parents[1] / "docs" / "reference" / "openapi.json"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def broken(server: RunningServer, examples: int, *options: str) -> str:
    """Runs it. What it found, "" for nothing; the number of cases is printed."""
    program = Path(sys.executable).with_name("schemathesis")
    ran = subprocess.run(
        [
            *(program, "--config-file", HERE / "schemathesis.toml", "run", REFERENCE),
            *("--url", server.url, "--checks", "all", "--max-examples", str(examples)),
            *("--seed", "1", "--generation-database", "none", "--no-color", *options),
        ],
        cwd=server.data_dir,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "contract.archives", "PYTHONPATH": path()},
        capture_output=True,
        text=True,
    )
    cases = re.search(r"(\d+) generated", ran.stdout)
    print(f"{cases[1] if cases else 'no'} cases")
    return "" if ran.returncode == 0 else ran.stdout + ran.stderr


def path() -> str:
    return os.pathsep.join(entry for entry in sys.path if entry)


def test_the_reference_holds_for_an_administrator(shared_server: RunningServer) -> None:
    server = shared_server
    server.publish()
    made = server.http().post("/api/tasks", json={"name": "model", "version": "1.0"})
    assert made.status_code == 201
    found = broken(server, 50, "--header", f"Authorization: Bearer {server.admin_token}")
    assert not found, found


def test_the_reference_holds_for_a_stranger(shared_server: RunningServer) -> None:
    found = broken(shared_server, 20)
    assert not found, found
