"""The warm process with real forks and real torch."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from warm import WarmProcess

TINY = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

def build_model(cfg):
    return nn.Linear(2, 2)

def build_data(cfg):
    return TensorDataset(torch.randn(32, 2), torch.zeros(32, dtype=torch.long))
"""
ENDLESS = {"epochs": 10_000_000}


def package(folder, source=TINY, **files):
    folder.mkdir()
    (folder / "model.py").write_text(source)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return package(tmp_path_factory.mktemp("packages") / "tiny")


@pytest.fixture
def start_warm(tmp_path):
    """Starts a warm process of this test's own, with options."""
    started = []

    def start(*options, **keywords):
        home = tmp_path / f"warm{len(started)}"
        home.mkdir()
        started.append(WarmProcess(home, *options, **keywords))
        return started[-1].connect()

    yield start
    for warm in started:
        warm.close()


def has_ended(pid):
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_it_introduces_itself_and_only_its_owner_may_speak_to_it(warm):
    answer = warm.ask("hello")
    assert answer["pid"] == warm.process.pid
    assert answer["python"] == sys.version.split()[0]
    assert answer["torch"].count(".") == 2
    assert stat.S_IMODE(Path(warm.socket_path).stat().st_mode) == 0o600


def test_it_has_one_thread_and_so_forking_is_safe(warm, tiny):
    warm.start(tiny, {"epochs": 1}).wait_for_end()
    assert psutil.Process(warm.process.pid).num_threads() == 1


def test_a_worker_trains_and_its_exit_is_recorded(warm, tiny):
    folder = warm.start(tiny, {"epochs": 2, "seed": 11})
    last, exit_line = folder.wait_for_end()
    assert last["type"] == "finished"
    assert exit_line == {"pid": folder.spawned["pid"], "code": 0, "signal": None}
    started = folder.lines[0]
    assert started["type"] == "started"
    assert started["pid"] == folder.spawned["pid"]
    assert started["provenance"]["packages"]["torch"] == started["provenance"]["torch"]
    assert started["provenance"]["seed"] == 11
    assert [line["type"] for line in folder.lines if line["type"] != "points"] == [
        "started",
        "running",
        "checkpoint",
        "weights",
        "finished",
    ]


def test_a_worker_is_a_session_of_its_own_with_its_own_output(warm, tmp_path):
    source = TINY + "\nimport os, sys\nprint('to', 'stdout'); print('to stderr', file=sys.stderr)\n"
    folder = warm.start(package(tmp_path / "p", source), ENDLESS, env={"AF_TEST": "yes"})
    folder.wait_for_step(1)
    worker = psutil.Process(folder.spawned["pid"])
    assert os.getsid(worker.pid) == worker.pid
    assert worker.cwd() == str(tmp_path / "p")
    assert "to stdout\nto stderr\n" in folder.log
    assert {file.path for file in worker.open_files()} >= {str(folder.path / "log")}
    os.kill(worker.pid, signal.SIGKILL)
    folder.wait_for_end()


def test_the_spawn_names_the_process_by_pid_and_start_time(warm, tiny):
    folder = warm.start(tiny, ENDLESS)
    fields = Path(f"/proc/{folder.spawned['pid']}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[19]) == folder.spawned["start_time"]
    workers = warm.ask("list")["workers"]
    assert workers == [{"run_dir": str(folder.path), **_named(folder)}]
    again = warm.ask("spawn", run_dir=str(folder.path), env={})
    assert again == {"ok": False, "error": f"a worker already runs in {folder.path}"}
    folder.wait_for("started")
    folder.desire("stopped")
    folder.wait_for_end()
    assert warm.ask("list")["workers"] == []


def _named(folder):
    return {"pid": folder.spawned["pid"], "start_time": folder.spawned["start_time"]}


def test_a_killed_worker_leaves_its_signal(warm, tiny):
    folder = warm.start(tiny, ENDLESS)
    folder.wait_for_step(1)
    os.kill(folder.spawned["pid"], signal.SIGKILL)
    last, exit_line = folder.wait_for_end()
    assert last["type"] not in ("finished", "failed", "stopped")
    assert exit_line == {"pid": folder.spawned["pid"], "code": None, "signal": signal.SIGKILL}


def test_a_crash_in_native_code_leaves_its_signal_and_where_it_happened(warm, tmp_path):
    source = TINY + "\nimport ctypes\nctypes.string_at(0)\n"
    folder = warm.start(package(tmp_path / "p", source))
    last, exit_line = folder.wait_for_end()
    assert last["type"] == "started"
    assert exit_line["signal"] == signal.SIGSEGV
    assert "model.py" in folder.log


def test_tasks_do_not_see_each_others_modules(warm, tmp_path):
    source = "import af_shared\n" + TINY + "\nprint('answer', af_shared.answer)\n"
    for answer in ("one", "two"):
        folder = package(tmp_path / answer, source, af_shared=f"answer = {answer!r}")
        run = warm.start(folder, {"epochs": 1})
        assert run.wait_for_end()[0]["type"] == "finished"
        assert f"answer {answer}\n" in run.log


def test_the_environment_of_a_spawn_is_the_workers_alone(warm, tmp_path):
    source = (
        TINY + "\nimport os\nprint('got', os.environ.get('AF_TEST'), torch.get_num_threads())\n"
    )
    folder = package(tmp_path / "p", source)
    first = warm.start(folder, {"epochs": 1}, env={"AF_TEST": "x", "OMP_NUM_THREADS": "2"})
    second = warm.start(folder, {"epochs": 1})
    for run, text in ((first, "got x 2\n"), (second, "got None 1\n")):
        assert run.wait_for_end()[0]["type"] == "finished"
        assert text in run.log


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"op": "dance"}, "a request is a line of JSON with an id and an op (hello, spawn"),
        ({"op": "spawn"}, "not a valid spawn: KeyError('run_dir')"),
        ({"op": "spawn", "run_dir": "/nowhere"}, "spawn failed: [Errno 2] No such file"),
        ({"op": "store", "run_dir": "/nowhere", "host": "x.invalid", "port": 0}, "store failed: "),
    ],
)
def test_a_bad_request_is_answered_with_a_sentence(warm, request_, error):
    answer = warm.ask(**request_)
    assert answer["ok"] is False
    assert answer["error"].startswith(error)


def test_a_line_that_is_no_json_is_answered_too(warm):
    warm._file.write(b"hello?\n")
    warm._file.flush()
    answer = json.loads(warm._file.readline())
    assert (answer["id"], answer["ok"]) == (None, False)


def test_a_store_ends_with_the_worker_of_its_run_folder(warm, tiny):
    folder = warm.folder(tiny, {"epochs": 1})
    store = warm.ask("store", run_dir=str(folder.path), host="127.0.0.1", port=0)
    assert store["ok"]
    assert warm.ask("store", run_dir=str(folder.path), host="127.0.0.1", port=0)["ok"] is False
    process = psutil.Process(store["pid"])
    assert process.status() != psutil.STATUS_ZOMBIE
    warm.ask("spawn", run_dir=str(folder.path), env={})
    folder.wait_for_end()
    process.wait(timeout=30)


def test_workers_die_with_the_warm_process(start_warm, tiny):
    warm = start_warm()
    folder = warm.start(tiny, ENDLESS)
    folder.wait_for_step(1)
    worker = psutil.Process(folder.spawned["pid"])
    os.kill(warm.process.pid, signal.SIGKILL)
    warm.process.wait()
    worker.wait(timeout=30)


def test_without_an_agent_for_too_long_its_workers_checkpoint_and_stop(start_warm, tiny):
    warm = start_warm("--orphan-limit", "0.2", "--idle-limit", "600")
    folder = warm.start(tiny, ENDLESS)
    folder.wait_for_step(1)
    warm.disconnect()
    _, exit_line = folder.wait_for_end()
    assert [line["type"] for line in folder.lines[-2:]] == ["checkpoint", "stopped"]
    assert exit_line["code"] == 0
    assert warm.process.wait(timeout=60) == 0
    assert not Path(warm.socket_path).exists()


def test_an_agent_that_comes_back_in_time_finds_its_workers(start_warm, tiny):
    warm = start_warm("--orphan-limit", "600")
    folder = warm.start(tiny, ENDLESS)
    folder.wait_for_step(1)
    warm.disconnect()
    step = folder.points[-1][0]
    folder.wait_for_step(step + 1)
    warm.connect()
    assert warm.ask("list")["workers"] == [{"run_dir": str(folder.path), **_named(folder)}]


def test_with_nothing_to_do_it_ends(start_warm):
    warm = start_warm("--idle-limit", "0.1")
    warm.disconnect()
    assert warm.process.wait(timeout=60) == 0


def test_a_shutdown_waits_for_the_workers_and_takes_no_more(start_warm, tiny):
    warm = start_warm()
    folder = warm.start(tiny, ENDLESS)
    folder.wait_for_step(1)
    assert warm.ask("shutdown") == {"ok": True}
    refused = warm.ask("spawn", run_dir=str(warm.folder(tiny).path), env={})
    assert refused == {"ok": False, "error": "the warm process is shutting down"}
    folder.desire("stopped")
    assert folder.wait_for_end()[0]["type"] == "stopped"
    assert warm.process.wait(timeout=60) == 0


def test_a_python_that_cannot_import_torch_says_so_at_each_spawn(start_warm, tiny, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.12 is missing')\n")
    warm = start_warm(env={"PYTHONPATH": str(tmp_path)})
    assert warm.ask("hello")["torch"] is None
    for _ in range(2):
        answer = warm.ask("spawn", run_dir=str(warm.folder(tiny).path), env={})
        assert answer == {
            "ok": False,
            "error": f"{sys.executable} cannot train: libcudart.so.12 is missing",
        }


def test_a_socket_in_use_is_refused_and_a_stale_one_replaced(start_warm):
    warm = start_warm()
    command = [sys.executable, "-m", "aifarm.train.zygote", "--socket", warm.socket_path]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 1
    assert second.stderr == f"another warm process listens at {warm.socket_path}\n"
    os.kill(warm.process.pid, signal.SIGKILL)
    warm.process.wait()
    third = subprocess.run(
        [*command, "--idle-limit", "0"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (third.returncode, third.stderr) == (0, "")
