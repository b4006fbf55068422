"""An agent whose disk fills up starts over from what is on it."""

import asyncio

import pytest

from agent_server import TOKEN, ScriptedServer
from aifarm_agent import runtime, workdir
from aifarm_agent.events import Identity
from aifarm_agent.gpus import Gpus
from aifarm_agent.plan import Settings
from aifarm_agent.runtime import Agent, Server, serve
from aifarm_agent.workdir import WorkDir

SOURCE = """
import torch
def build_model(cfg):
    for _ in range(60):
        print("x" * 8000)
    return torch.nn.Linear(1, 1)
def build_data(cfg):
    x = torch.zeros(4, 1)
    return torch.utils.data.TensorDataset(x, x)
"""


@pytest.fixture
async def server():
    server = ScriptedServer()
    yield server
    await server.stop()


async def test_a_full_disk_costs_nothing_that_was_said(tmp_path, server, monkeypatch, caplog):
    monkeypatch.setattr(runtime, "LAST_WORDS", 0)
    folder = WorkDir(tmp_path / "work")
    identity = Identity("ws1", workdir.machine_id(), workdir.boot_id(), "host", "1", {})
    agents = []

    def make():
        agent = Agent(
            folder, identity, Server([server.url], TOKEN), Gpus("none"), Settings(grace=1)
        )
        agents.append(agent)
        if len(agents) == 1:
            agent._outbox._db.execute("PRAGMA max_page_count = 30")
        return agent

    stop = asyncio.Queue()
    running = asyncio.create_task(serve(make, stop, folder.reserve))
    rank = server.assign("large", server.publish("model", SOURCE))
    assert await server.ended(rank) == ("completed", "completed")
    assert rank.steps[-1] == 4
    assert len(agents) > 1
    assert "database or disk is full. Starting over." in caplog.text
    stop.put_nowait("give_back")
    await running
    folder.close()
    agents[0]._supervisor._warm.own._process.wait()  # which the second one found and ended
