"""A farm on this machine: it comes up whole, is found, and leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import aifarm
from aifarm.local.farm import LocalFarm
from aifarm.sdk import AIFarmError
from integration.running import free_port


def alive(folder: Path) -> list[psutil.Process]:
    """Processes with a path in this folder in their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if any(str(folder) in word for word in words) and process.info["status"] != "zombie":
            found.append(process)
    return found


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def wait_until_gone(processes: list[psutil.Process]) -> None:
    _, left = psutil.wait_procs(processes, timeout=60)
    assert left == []


@contextmanager
def dev(home: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`aifarm dev` in a terminal of its own, and what it said until it was up."""
    environ = {**os.environ, "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    for name in ("AIFARM_URL", "AIFARM_TOKEN"):
        environ.pop(name, None)
    running = subprocess.Popen(
        [sys.executable, "-u", "-m", "aifarm.cli", "dev", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environ,
        start_new_session=True,
    )
    assert running.stdout is not None
    said = ""
    try:
        while "Ctrl-C" not in said and (line := running.stdout.readline()):
            said += line
        yield running, said
    finally:
        if running.poll() is None:
            running.terminate()
        running.communicate(timeout=60)


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)],
)
def test_dev_comes_up_is_found_and_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("AIFARM_URL", raising=False)
    monkeypatch.delenv("AIFARM_TOKEN", raising=False)
    with dev(tmp_path, "--agents", "1") as (running, said):
        assert "The farm is up: http://127.0.0.1:" in said
        with aifarm.connect() as farm:
            assert [client.id for client in farm.clients()] == ["agent-1"]
        everything = family(psutil.Process(running.pid))
        assert len(everything) >= 3
        running.send_signal(number)
        expected = {signal.SIGINT: 0, signal.SIGTERM: 143, signal.SIGKILL: -9}
        assert running.wait(timeout=60) == expected[number]
        wait_until_gone(everything)
    assert alive(tmp_path) == []


def test_a_taken_port_is_told_and_another_one_used(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8765))
            taken.listen()
        except OSError:
            pass  # somebody else takes it: as good
        with dev(tmp_path, "--agents", "0") as (_, said):
            (port,) = re.findall(r"Port 8765 is taken, so this farm uses (\d+)", said)
            assert f"The farm is up: http://127.0.0.1:{port}" in said


def test_a_port_that_is_taken_while_the_farm_starts_is_given_up(tmp_path: Path) -> None:
    local = LocalFarm(tmp_path, agents=0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        local.port = taken.getsockname()[1]
        with local:
            assert local.port != taken.getsockname()[1]
            local.connect().close()


def test_an_explicit_port_that_is_taken_is_one_sentence_and_2(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with dev(tmp_path, "--agents", "0", "--port", port) as (running, said):
            assert running.wait(timeout=60) == 2
    assert f"Port {port} is taken" in said
    assert "Traceback" not in said


def test_a_second_farm_in_the_same_folder_is_refused_in_words(tmp_path: Path) -> None:
    with LocalFarm(tmp_path, agents=0):
        with pytest.raises(AIFarmError, match="server ended") as raised:
            LocalFarm(tmp_path, agents=0, port=free_port()).start()
        assert "Traceback" not in str(raised.value)


def test_a_farm_comes_up_again_with_what_it_had_and_the_same_clients(tmp_path: Path) -> None:
    folder = tmp_path / "a folder with spaces"
    for _ in range(2):
        with LocalFarm(folder, agents=1) as local, local.connect() as farm:
            assert [client.id for client in farm.clients()] == ["agent-1"]
            assert len([token for token in farm.tokens() if token.role == "agent"]) == 1
            assert (folder / "server" / "farm.json").exists()
        assert not (folder / "server" / "farm.json").exists()


def test_a_process_that_ends_by_itself_is_a_problem_with_its_last_words(tmp_path: Path) -> None:
    with LocalFarm(tmp_path, agents=0) as local:
        assert local.problem() is None
        assert local.server is not None
        local.server.kill()
        local.server.wait()
        assert "The server ended" in (local.problem() or "")
        local.start_server()
        assert local.problem() is None


def test_a_server_alone_writes_its_token_and_says_where(tmp_path: Path) -> None:
    port = free_port()
    options = ["--port", str(port), "--data-dir", str(tmp_path / "data")]
    command = [sys.executable, "-m", "aifarm.cli", "server", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        said = ""
        while "serving" not in said and (line := running.stderr.readline()):
            said += line
        running.terminate()
        assert running.wait(timeout=60) == 0
        assert f"the administrator's token is in {tmp_path / 'data' / 'admin-token'}" in said
        assert f"serving http://127.0.0.1:{port}" in said


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--host", "0.0.0.0"], "--allow-plaintext"),
        (["--certfile", "/no/such"], "--certfile and --keyfile go together"),
        (["--data-dir", "/proc/nothing"], "data folder"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_sentence(
    tmp_path: Path, options: list[str], told: str
) -> None:
    command = [sys.executable, "-m", "aifarm.cli", "server", "--port", str(free_port())]
    folder = ["--data-dir", str(tmp_path / "data")]
    done = subprocess.run(
        [*command, *folder, *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
