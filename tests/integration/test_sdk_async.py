"""The asynchronous SDK against a real server: the same farm, awaited."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import aifarm
from aifarm.sdk import FarmUnreachable, NotFound, TaskFailed
from integration.running import MODEL, RunningServer
from integration.scripted import ScriptedAgent


@pytest.fixture
async def farm(shared_server: RunningServer) -> AsyncIterator[aifarm.AsyncFarm]:
    url, token = shared_server.url, shared_server.admin_token
    async with await aifarm.connect_async(url, token) as connected:
        await connected.publish(MODEL, name="model", version="1.0")
        yield connected
        await connected.bulk("stop", await connected.tasks(status="pending"))


@pytest.fixture
def agent(shared_server: RunningServer) -> Iterator[ScriptedAgent]:
    with ScriptedAgent(shared_server, "awaited") as scripted:
        yield scripted


async def test_a_task_is_submitted_watched_and_awaited(
    farm: aifarm.AsyncFarm, agent: ScriptedAgent, tmp_path: Path
) -> None:
    task = await farm.submit("model", epochs=2, title="Awaited")
    ended = asyncio.create_task(task.wait(timeout=60))
    seen = [info.status async for info in _until(task, "assigned")]
    assert seen[-1] == "assigned"

    def train() -> None:
        agent.take()
        agent.running()
        agent.progress(50.0, 1, loss=0.5)
        agent.log("one", "two")
        agent.checkpoint(b"weights", step=1)
        agent.end()

    await asyncio.to_thread(train)
    assert await ended is task
    assert await task.status == "completed"
    assert (await task.metrics("loss"))["loss"]["value"] == [0.5]
    assert [line async for line in task.logs()] == ["one", "two"]
    assert [line async for line in task.logs(follow=True)] == ["one", "two"]
    path = await (await task.checkpoint()).download(tmp_path)
    assert path.read_bytes() == b"weights"
    assert (await task.events())[-1].kind == "completed"
    assert [found.id for found in await farm.tasks(search="Awaited")] == [task.id]


async def _until(task: aifarm.AsyncTask, status: str) -> AsyncIterator[object]:
    async for info in task.watch():
        yield info
        if info.status == status:
            return


async def test_thirty_are_awaited_together(farm: aifarm.AsyncFarm) -> None:
    tasks = await asyncio.gather(*(farm.submit("model", n_clients=2) for _ in range(30)))
    waiting = [asyncio.create_task(task.wait(timeout=60)) for task in tasks]
    await farm.bulk("stop", tasks)
    ended = await asyncio.gather(*waiting)
    assert [task.info.status for task in ended] == ["stopped"] * 30


async def test_errors_are_those_of_the_blocking_half(
    farm: aifarm.AsyncFarm, agent: ScriptedAgent
) -> None:
    with pytest.raises(NotFound):
        await farm.task("no-such-task")
    with pytest.raises(FarmUnreachable):
        await aifarm.connect_async("http://127.0.0.1:9", "t")
    task = await farm.submit("model")

    def fail() -> None:
        agent.take()
        agent.end("failed", cause="user_error", message="it breaks")

    await asyncio.to_thread(fail)
    with pytest.raises(TaskFailed, match="it breaks"):
        await task.wait(timeout=60)


async def test_a_client_is_found_by_its_first_characters(
    farm: aifarm.AsyncFarm, agent: ScriptedAgent
) -> None:
    client = await farm.client("awai")
    assert (client.id, client.status, client.drained) == ("awaited", "active", None)
