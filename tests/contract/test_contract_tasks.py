"""Whole tasks, with clients and bodies as the page of the API prints them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contract.client import Workstation
from integration.running import RunningServer

CREATE: dict[str, Any] = {
    "type": "training",
    "name": "model_name",
    "url": "http://model-server/models/model/1.0",
    "version": "1.0",
    "batch_size": 32,
    "learning_rate": 0.001,
    "epochs": 10,
    "distributed": True,
    "requirements": {"min_gpu_memory": 0, "min_cpu_cores": 1, "min_ram": 1},
    "n_clients": 3,
}
"""As the page prints it."""

ALONE = {**CREATE, "distributed": False, "n_clients": 1, "epochs": 4}
PATIENCE = 30.0


@pytest.fixture
async def http(server: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {server.token('researcher', 'ada')}"}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=30) as client:
        yield client


def workstation(server: RunningServer, name: str) -> Workstation:
    return Workstation(f"ws://127.0.0.1:{server.port}", name, server.token("agent"))


async def heard(client: Workstation) -> str:
    async with asyncio.timeout(PATIENCE):
        return await client.told.get()


async def status_of(http: httpx.AsyncClient, task_id: str) -> str:
    status: str = (await http.get(f"/api/tasks/{task_id}")).json()["status"]
    return status


async def test_a_task_goes_from_its_creation_to_its_result(
    server: RunningServer, http: httpx.AsyncClient
) -> None:
    created = (await http.post("/api/tasks", json=ALONE)).json()
    client = workstation(server, "client_uuid")
    client.permits.release()
    running = asyncio.create_task(client.run(tasks=1))
    assert await heard(client) == "task"
    for _ in range(3):
        client.permits.release()
    async with asyncio.timeout(PATIENCE):
        await running
    assert client.unknown == []
    (task,) = client.ran
    assert task["id"] == created["id"]
    assert task["config"] == {
        "name": "model_name",
        "url": CREATE["url"],
        "version": "1.0",
        "batch_size": 32,
        "learning_rate": 0.001,
        "epochs": 4,
        "distributed": False,
        "rank": 0,
        "world_size": 1,
    }
    details = (await http.get(f"/api/tasks/{created['id']}")).json()
    assert (details["status"], details["progress"]) == ("completed", 100.0)
    assert details["metrics"] == {
        "loss": 0.25,
        "learning_rate": 0.001,
        "final_loss": 0.0018,
        "training_time": 3600.0,
    }
    known = (await http.get("/api/clients/client_uuid")).json()
    assert set(known) == {"id", "status", "resources", "tasks", "performance", "last_seen"}
    assert known["performance"]["completed_tasks"] == 1
    assert known["resources"]["cpu"]["usage"] == 45.2


async def test_pause_resume_and_stop_are_obeyed(
    server: RunningServer, http: httpx.AsyncClient
) -> None:
    task_id = (await http.post("/api/tasks", json=ALONE)).json()["id"]
    path = f"/api/tasks/{task_id}/status"
    client = workstation(server, "ws1")
    running = asyncio.create_task(client.run(tasks=1))
    assert await heard(client) == "task"
    client.permits.release()
    while await status_of(http, task_id) != "running":
        continue
    answer = await http.put(path, json={"status": "paused", "reason": "Resource constraints"})
    assert (answer.status_code, answer.json()["status"]) == (200, "paused")
    assert await heard(client) == "pause"
    assert await status_of(http, task_id) == "paused"
    story = (await http.get(f"/api/v2/tasks/{task_id}/events")).json()["events"]
    assert any("Resource constraints" in event["message"] for event in story)
    client.permits.release()
    await http.put(path, json={"status": "running"})
    assert await heard(client) == "resume"
    assert await status_of(http, task_id) == "running"
    await http.put(path, json={"status": "stopped"})
    assert await heard(client) == "stop"
    for _ in range(4):
        client.permits.release()
    async with asyncio.timeout(PATIENCE):
        await running
    assert await status_of(http, task_id) == "stopped"
    assert client.unknown == []


async def test_a_task_that_is_deleted_while_it_runs_is_stopped(
    server: RunningServer, http: httpx.AsyncClient
) -> None:
    task_id = (await http.post("/api/tasks", json=ALONE)).json()["id"]
    client = workstation(server, "ws1")
    running = asyncio.create_task(client.run(tasks=1))
    assert await heard(client) == "task"
    client.permits.release()
    while await status_of(http, task_id) != "running":
        continue
    assert (await http.delete(f"/api/tasks/{task_id}")).status_code == 204
    assert await heard(client) == "stop"
    for _ in range(4):
        client.permits.release()
    async with asyncio.timeout(PATIENCE):
        await running
    assert (await http.get(f"/api/tasks/{task_id}")).status_code == 404
    assert client.unknown == []


async def test_three_clients_make_a_gang(server: RunningServer, http: httpx.AsyncClient) -> None:
    task_id = (await http.post("/api/tasks", json={**CREATE, "epochs": 2})).json()["id"]
    clients = [workstation(server, f"ws{number}") for number in range(3)]
    running = [asyncio.create_task(client.run(tasks=1)) for client in clients]
    assert [await heard(client) for client in clients] == ["task"] * 3
    configs = [client.ran[0]["config"] for client in clients]
    assert sorted(config["rank"] for config in configs) == [0, 1, 2]
    assert {config["world_size"] for config in configs} == {3}
    assert {config["distributed"] for config in configs} == {True}
    assert {client.ran[0]["id"] for client in clients} == {task_id}
    by_rank = sorted(
        zip(clients, running, strict=True), key=lambda pair: pair[0].ran[0]["config"]["rank"]
    )
    for client, run in by_rank:
        assert await status_of(http, task_id) != "completed"
        for _ in range(2):
            client.permits.release()
        async with asyncio.timeout(PATIENCE):
            await run
    assert await status_of(http, task_id) == "completed"
    assert [client.unknown for client in clients] == [[], [], []]


async def test_two_clients_work_off_a_queue(server: RunningServer, http: httpx.AsyncClient) -> None:
    body = {**ALONE, "epochs": 1}
    created = {(await http.post("/api/tasks", json=body)).json()["id"] for _ in range(6)}
    clients = [workstation(server, name) for name in ("ws1", "ws2")]
    for client in clients:
        for _ in range(3):
            client.permits.release()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(client.run(tasks=3) for client in clients))
    assert {task["id"] for client in clients for task in client.ran} == created
    listed = (await http.get("/api/tasks", params={"status": "completed"})).json()
    assert listed["total"] == 6
    assert [client.unknown for client in clients] == [[], []]
