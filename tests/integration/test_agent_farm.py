"""The agent as a real process, with the real warm process, against a scripted server.

The agents of a module share a work dir, so that the warm process is found again, not started.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest

from agent_server import PATIENCE, TOKEN, ScriptedServer
from aifarm_agent.events import RankKey
from aifarm_agent.gpulocks import FOLDER, GpuLocks
from aifarm_agent.workdir import socket_folder

SOURCE = """
import os, subprocess, sys, time, torch
from torch.utils.data import TensorDataset

class Model(torch.nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.cfg = cfg
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        time.sleep(self.cfg.get("pause", 0))
        if self.calls == self.cfg.get("at"):
            exec(self.cfg["do"])
        return self.layer(x)

def build_model(cfg):
    print("model built", flush=True)
    if "begin" in cfg:
        exec(cfg["begin"])
    return Model(cfg)

def build_data(cfg):
    x = torch.arange(cfg.get("samples", 20)).float().unsqueeze(1)
    return TensorDataset(x, x)
"""
SLOW = {"samples": 10_000, "pause": 0.01}


class AgentProcess:
    """`aifarm-agent` on a work dir. `client_id` says the same to every server."""

    def __init__(self, home, *options):
        self.home = home
        self.options = options
        self.process = None

    async def start(self, server, *options, env=None):
        token = self.home / "token"
        token.write_text(TOKEN)
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aifarm_agent", "--server", server.url),
            *("--token-file", str(token), "--work-dir", str(self.home / "work")),
            *("--client-id", "ws1", "--grace", "1", *self.options, *options),
            env={**os.environ, **(env or {})},
            stderr=asyncio.subprocess.PIPE,
        )
        return self

    async def end(self, number):
        """Sends the signal; returns the exit code and what was said on stderr."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        _, said = await asyncio.wait_for(self.process.communicate(), PATIENCE)
        return self.process.returncode, said.decode()

    async def kill(self):
        await self.end(signal.SIGKILL)

    def sweep(self):
        """Leaves no process, whatever a test left."""
        for process in self.warm():
            process.kill()
            process.wait()
        shutil.rmtree(socket_folder(self.work.resolve()))

    @property
    def work(self):
        return self.home / "work"

    def warm(self):
        """The warm processes of this work dir."""
        path = str(socket_folder(self.work.resolve()) / "warm")
        found = {p.pid: p for p in processes() if path in p.info["cmdline"]}
        return [p for p in found.values() if p.info["ppid"] not in found]  # and no forked worker

    def workers(self):
        """The pids that the run folders name and that are alive."""
        found = []
        for file in self.work.glob("runs/*/worker.json"):
            with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
                process = psutil.Process(json.loads(file.read_text())["pid"])
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
        return found


def processes():
    return [
        process
        for process in psutil.process_iter(["cmdline", "ppid", "status"])
        if process.info["cmdline"] and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


async def gone(pid):
    """Waits until there is no such process."""
    with contextlib.suppress(psutil.NoSuchProcess):
        await asyncio.to_thread(psutil.Process(pid).wait, PATIENCE)


async def until(look):
    """Waits for what no message tells."""
    while True:
        if seen := await asyncio.to_thread(look):
            return seen
        await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home with space")
    yield home
    AgentProcess(home).sweep()


@pytest.fixture
async def server():
    server = ScriptedServer()
    yield server
    await server.stop()


@pytest.fixture
async def agent(home, server):
    agent = await AgentProcess(home).start(server)
    await server.connected()
    yield agent
    await agent.kill()  # which leaves the warm process to the next one


@pytest.fixture
async def fresh(tmp_path):
    """An agent on a work dir of its own, not started yet."""
    agent = AgentProcess(tmp_path)
    yield agent
    if agent.process is not None:
        await agent.kill()
    agent.sweep()


@pytest.fixture
def package(server):
    return server.publish("model", SOURCE)


async def test_a_task_is_trained_and_told_from_its_start_to_its_end(agent, server, package):
    rank = server.assign("whole", package)
    assert await server.ended(rank) == ("completed", "completed")
    assert rank.states == ["running"]
    assert rank.provenance["torch"]
    assert rank.steps == sorted(set(rank.steps))
    assert rank.steps[-1] == 20
    assert "loss" in rank.metrics
    assert "model built" in rank.lines
    assert rank.checkpoints[-1].final
    assert rank.kinds[-1] == "TaskResult"
    stored = server.uploads[rank.checkpoints[-1].upload_id]
    (kept,) = (agent.work / "checkpoints" / "whole").iterdir()
    assert rank.results[0].checkpoint_path == str(kept)
    assert kept.read_bytes() == b"".join(stored[n] for n in sorted(stored))
    await until(lambda: not list(agent.work.glob("runs/*")))


async def test_controls_reach_the_training_loop(agent, server, package):
    rank = server.assign("steered", package, **SLOW)
    await server.until(lambda: rank.steps)
    server.control("steered", "pause")
    await server.until(lambda: rank.states[-1] == "paused")
    held = len(rank.steps)
    server.control("steered", "resume")
    await server.until(lambda: rank.states[-1] == "running" and len(rank.steps) > held)
    server.control("steered", "stop")
    assert await server.ended(rank) == ("stopped", "stopped")
    assert rank.checkpoints


async def test_a_worker_outlives_a_killed_agent_and_nothing_is_lost_or_doubled(
    agent, home, server, package
):
    rank = server.assign("reattached", package, samples=400, pause=0.01)
    await server.until(lambda: len(rank.steps) > 10)
    (worker,) = agent.workers()
    for _ in range(3):
        await agent.kill()
        assert agent.workers() == [worker]
        seen = len(rank.steps)
        await agent.start(server)
        await server.until(lambda seen=seen: len(rank.steps) > seen)
    assert await server.ended(rank) == ("completed", "completed")
    assert rank.steps == list(range(1, 401))
    assert rank.states == ["running"]
    assert server.hellos[-1].tasks[0].state == "running"


async def test_a_task_that_ends_while_its_agent_is_away_is_told_on_return(agent, server, package):
    rank = server.assign("away", package, samples=50, pause=0.01)
    await server.until(lambda: rank.steps)
    (worker,) = agent.workers()
    await agent.kill()
    await gone(worker)
    await agent.start(server)
    assert await server.ended(rank) == ("completed", "completed")
    assert rank.steps == list(range(1, 51))


async def test_a_task_that_ends_while_the_server_is_away_is_told_on_return(agent, server, package):
    rank = server.assign("offline", package, samples=50, pause=0.01)
    await server.until(lambda: rank.steps)
    (worker,) = agent.workers()
    await server.stop()
    await gone(worker)
    server.start()
    assert await server.ended(rank) == ("completed", "completed")
    assert rank.steps == list(range(1, 51))


@pytest.mark.parametrize(
    ("do", "cause", "words"),
    [
        ("os._exit(3)", "user_error", "exit code 3"),
        ("os.kill(os.getpid(), 9)", "user_error", "SIGKILL"),
        ("raise ValueError('boom')", "user_error", "boom"),
    ],
)
async def test_how_a_worker_that_fails_is_told(agent, server, package, do, cause, words):
    task_id = f"fails-{len(do)}"
    rank = server.assign(task_id, package, at=3, do=do)
    assert await server.ended(rank) == ("failed", cause)
    assert words in rank.results[0].message


async def test_a_package_that_does_not_import_is_invalid(agent, server):
    rank = server.assign("broken", server.publish("broken", "import no_such_module"))
    assert await server.ended(rank) == ("failed", "package_invalid")
    assert "no_such_module" in rank.results[0].message


@pytest.mark.slow
async def test_a_worker_that_does_not_stop_is_ended_with_its_children(agent, server, package):
    do = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen(['sleep', '1000']); print('child', child.pid, flush=True);"
        "time.sleep(1000)"
    )
    rank = server.assign("deaf", package, at=2, do=do)
    await server.until(lambda: any(line.startswith("child") for line in rank.lines))
    child = int(next(line for line in rank.lines if line.startswith("child")).split()[1])
    (worker,) = agent.workers()
    server.control("deaf", "stop")
    assert await server.ended(rank) == ("stopped", "stopped")
    await gone(worker)
    await gone(child)


async def test_children_that_a_worker_leaves_behind_are_ended(agent, server, package):
    do = "child = subprocess.Popen(['sleep', '1000']); print('child', child.pid, flush=True)"
    rank = server.assign("careless", package, at=2, do=do)
    assert await server.ended(rank) == ("completed", "completed")
    await gone(int(next(line for line in rank.lines if line.startswith("child")).split()[1]))


async def test_a_withdrawn_rank_ends_at_once(agent, server, package):
    rank = server.assign("stale", package, **SLOW)
    await server.until(lambda: rank.steps)
    (worker,) = agent.workers()
    server.withdraw("stale")
    assert await server.ended(rank) == ("stopped", "withdrawn")
    await gone(worker)


async def test_a_token_is_nowhere_that_training_code_can_see(fresh, server, package):
    agent = await fresh.start(server, env={"AIFARM_TOKEN": TOKEN})
    await server.connected()
    begin = "print(sorted(os.environ.items()), open('/proc/self/environ').read(), sys.argv)"
    rank = server.assign("curious", package, begin=begin)
    await server.ended(rank)
    (process,) = [p for p in processes() if p.pid == agent.process.pid]
    assert TOKEN not in " ".join(process.cmdline())
    _, said = await agent.end(signal.SIGTERM)
    assert len("".join(rank.lines)) > 100
    assert TOKEN not in "".join(rank.lines)
    assert TOKEN not in said


async def test_a_gang_meets_and_trains(agent, server, package):
    rank = server.assign("gang", package, world_size=2, samples=8, batch_size=2)
    other = server.ranks["gang", 1, 1]
    assert await server.ended(rank) == ("completed", "completed")
    assert await server.ended(other) == ("completed", "completed")
    assert rank.endpoint.address == "127.0.0.1"
    assert rank.checkpoints
    assert not other.checkpoints


async def test_a_warm_process_that_dies_is_replaced_and_its_workers_are_told(
    agent, server, package
):
    rank = server.assign("cold", package, **SLOW)
    await server.until(lambda: rank.steps)
    (warm,) = agent.warm()
    warm.kill()
    assert await server.ended(rank) == ("failed", "agent_lost")
    after = server.assign("warm-again", package)
    assert await server.ended(after) == ("completed", "completed")


async def test_sigterm_leaves_workers_to_the_next_agent(agent, server, package):
    rank = server.assign("left", package, samples=300, pause=0.01)
    await server.until(lambda: rank.steps)
    (worker,) = agent.workers()
    (warm,) = agent.warm()
    code, _ = await agent.end(signal.SIGTERM)
    assert code == 0
    assert agent.workers() == [worker]
    assert agent.warm() == [warm]
    await agent.start(server)
    assert await server.ended(rank) == ("completed", "completed")
    assert rank.steps == list(range(1, 301))


async def test_ctrl_c_gives_tasks_back_and_leaves_no_process(fresh, server, package):
    agent = await fresh.start(server)
    rank = server.assign("given-back", package, **SLOW)
    await server.until(lambda: rank.steps)
    (worker,) = agent.workers()
    (warm,) = agent.warm()
    code, said = await agent.end(signal.SIGINT)
    assert code == 0, said
    assert rank.result == ("stopped", "owner_returned")
    assert rank.checkpoints
    assert rank.kinds[-1] == "TaskResult"
    for pid in (worker, warm.pid):
        await gone(pid)
    assert agent.warm() == []
    assert list(agent.work.glob("runs/*")) == []


async def test_sigterm_ends_an_idle_warm_process(fresh, server):
    agent = await fresh.start(server)
    await server.connected()
    await until(agent.warm)
    code, _ = await agent.end(signal.SIGTERM)
    assert code == 0
    assert agent.warm() == []


async def test_a_wrong_token_ends_the_agent_in_one_sentence(fresh, tmp_path, server):
    wrong = tmp_path / "wrong"
    wrong.write_text("no-token")
    agent = await fresh.start(server, "--token-file", str(wrong))
    code, said = await agent.end(signal.SIGCONT)
    assert code == 3
    (line,) = [line for line in said.splitlines() if line.startswith("aifarm-agent:")]
    assert line.endswith(f"The token is not known. Check the token in {wrong}.")
    assert "Traceback" not in said
    assert agent.warm() == []


async def test_a_second_agent_on_a_work_dir_ends_in_one_sentence(agent, home, server):
    second = await AgentProcess(home).start(server)
    code, said = await second.end(signal.SIGCONT)
    assert code == 1
    assert "Another agent runs in" in said.splitlines()[-1]


async def test_a_rebooted_machine_says_so(agent, server, package):
    rank = server.assign("rebooted", package, **SLOW)
    await server.until(lambda: rank.steps)
    await agent.kill()
    agent.sweep()  # which ends the worker, too
    (file,) = agent.work.glob("runs/rebooted*/worker.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"boot_id": "another"}))
    await agent.start(server)
    assert await server.ended(rank) == ("failed", "agent_lost")
    assert rank.results[0].message == "The machine was restarted."


async def test_what_an_earlier_agent_left_unused_is_removed(agent, server):
    await agent.kill()
    (agent.work / "runs" / "never-started.1.0").mkdir()
    (agent.work / "runs" / "no run").mkdir()
    await agent.start(server)
    await until(lambda: not list(agent.work.glob("runs/*")))


async def test_ctrl_c_while_the_server_is_away_keeps_the_result_for_later(fresh, server, package):
    agent = await fresh.start(server)
    rank = server.assign("kept", package, **SLOW)
    await server.until(lambda: rank.steps)
    await server.stop()
    code, said = await agent.end(signal.SIGINT)
    assert code == 0, said
    assert agent.warm() == []
    server.start()
    await agent.start(server)
    assert await server.ended(rank) == ("stopped", "owner_returned")
    assert rank.checkpoints


async def test_status_shows_what_an_agent_does(agent, server, package):
    rank = server.assign("shown", package, **SLOW)
    await server.until(lambda: rank.steps)

    def status(*options):
        command = [sys.executable, "-m", "aifarm_agent", "status", "--work-dir", agent.work]
        return subprocess.run([*command, *options], capture_output=True, text=True).stdout

    def told():
        said = json.loads(status("--json"))
        return said if said and said["tasks"] else None

    said = await until(told)
    assert said["server"] == server.url
    assert said["tasks"][0]["task_id"] == "shown"
    shown = await asyncio.to_thread(status)
    assert f"ws1 (pid {agent.process.pid}): {server.url}" in shown
    assert "task shown attempt 1 rank 0: running" in shown
    server.control("shown", "stop")
    await server.ended(rank)


async def test_an_idle_agent_is_small(agent, server):
    await server.until(lambda: server.hellos)
    rss = psutil.Process(agent.process.pid).memory_info().rss / 2**20
    assert rss < 60, f"{rss:.0f} MiB"


@pytest.mark.slow
async def test_beyond_its_limit_without_a_server_a_task_waits_as_a_checkpoint(
    fresh, server, package
):
    await fresh.start(server, "--offline-limit", "1")
    await server.connected()
    rank = server.assign("alone", package, **SLOW)
    await server.until(lambda: rank.steps)
    await server.stop()
    (worker,) = fresh.workers()
    await gone(worker)
    server.start()
    assert await server.ended(rank) == ("stopped", "owner_returned")
    assert rank.results[0].message == "The server was away for too long."
    assert rank.checkpoints[-1].step == rank.steps[-1]


NVML = """
import types
NVML_TEMPERATURE_GPU = 0
def nvmlInit(): pass
def nvmlDeviceGetCount(): return 1
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetUUID(handle): return "{uuid}"
def nvmlDeviceGetName(handle): return "GPU"
def nvmlDeviceGetMemoryInfo(handle): return types.SimpleNamespace(total=2**30, used=0)
def nvmlDeviceGetUtilizationRates(handle): return None
def nvmlDeviceGetTemperature(handle, sensor): return None
def nvmlDeviceGetComputeRunningProcesses(handle): return []
"""


@pytest.mark.slow
async def test_a_gpu_stays_its_agents_while_a_worker_lives(fresh, server, package, tmp_path):
    """Also when that agent was killed; and the next one takes it up."""
    uuid = f"GPU-{os.urandom(8).hex()}"
    (tmp_path / "nvml").mkdir()
    (tmp_path / "nvml" / "pynvml.py").write_text(NVML.format(uuid=uuid))
    path = f"{tmp_path / 'nvml'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    other = GpuLocks()
    try:
        await fresh.start(server, env={"PYTHONPATH": path})
        await server.connected()
        assert server.hellos[-1].resources.gpu[0].held is False
        rank = server.assign("on-gpu", package, gpus=(0,), **SLOW)
        await server.until(lambda: rank.steps)
        assert other.taken(uuid)
        await fresh.kill()
        assert other.taken(uuid)
        await fresh.start(server, env={"PYTHONPATH": path})
        server.control("on-gpu", "stop")
        assert await server.ended(rank) == ("stopped", "stopped")
        assert not other.taken(uuid)

        await other.claim(RankKey("other", 1, 0), [uuid])
        await fresh.kill()
        await fresh.start(server, env={"PYTHONPATH": path})
        await server.until(lambda: server.hellos[-1].resources.gpu[0].held)
        refused = server.assign("refused", package, gpus=(0,), **SLOW)
        assert await server.ended(refused) == ("failed", "agent_lost")
        assert f"{uuid} is in use by another agent" in refused.results[0].message
    finally:
        for file in FOLDER.glob(f"{uuid}.*"):
            file.unlink()
