"""Limits of a real server, as those meet them who ask too much, and those who do not."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import aifarm
from aifarm.packages import pack_source
from integration.running import MODEL, RunningServer
from integration.scripted import ScriptedAgent

LIMIT = 300
BODY = {"name": "model", "version": "1.0"}


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[RunningServer]:
    with RunningServer(tmp_path / "farm", rate_limit=LIMIT, connections=2) as running:
        yield running


def remaining(answer: httpx.Response) -> int:
    return int(answer.headers["X-RateLimit-Remaining"])


def exhaust(http: httpx.Client, path: str) -> httpx.Response:
    """Asks until it is refused. A window may turn meanwhile; then it takes a little longer."""
    for _ in range(10 * LIMIT):
        answer = http.get(path)
        if answer.status_code == 429:
            return answer
    raise AssertionError("never refused")


def test_a_token_that_asks_too_often_is_told_when_to_come_back(strict: RunningServer) -> None:
    ada = strict.http(strict.token("researcher", "ada"))
    first = ada.get("/api/tasks")
    assert first.headers["X-RateLimit-Limit"] == str(LIMIT)
    assert int(first.headers["X-RateLimit-Reset"]) % 60 == 0
    refused = exhaust(ada, "/api/tasks")
    assert refused.json()["error"]["code"] == "RATE_LIMITED"
    assert remaining(refused) == 0
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert strict.http().get("/api/tasks").status_code == 200, "another token is not touched"


def test_every_answer_says_what_is_left(strict: RunningServer) -> None:
    http = strict.http()
    for path in ("/api/tasks", "/nowhere", "/api/tasks?limit=0", "/api/v2/live", "/api/health"):
        answer = http.get(path)
        assert {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"} <= set(
            answer.headers
        )
    assert "x-ratelimit-limit" in http.patch("/api/tasks").headers
    with strict.live() as socket:
        assert socket.response is not None
        assert "X-RateLimit-Remaining" in socket.response.headers


def test_failed_logins_are_held_shorter_and_lock_nobody_out(strict: RunningServer) -> None:
    with httpx.Client(base_url=strict.url, headers={"Authorization": "Bearer guess"}) as guesser:
        assert guesser.get("/api/tasks").headers["X-RateLimit-Limit"] == str(LIMIT // 100)
        refused = exhaust(guesser, "/api/tasks")
        assert refused.json()["error"]["code"] == "RATE_LIMITED"
        with pytest.raises(InvalidStatus) as closed:
            connect(f"ws://127.0.0.1:{strict.port}/")
        assert closed.value.response.status_code in (401, 429)
    assert strict.http().get("/api/tasks").status_code == 200


def test_a_token_may_have_so_many_sockets_open(strict: RunningServer) -> None:
    ada = strict.token("researcher", "ada")
    with strict.live(ada), strict.live(ada):
        with pytest.raises(InvalidStatus) as refused:
            strict.live(ada)
        assert refused.value.response.status_code == 429
        assert refused.value.response.headers["Retry-After"]
        with strict.live():
            pass
    for _ in range(1_000):  # a close is heard a moment later
        try:
            with strict.live(ada):
                return
        except InvalidStatus:
            continue
    raise AssertionError("the sockets that are closed still count")


def test_a_token_may_have_so_many_clients(tmp_path: Path) -> None:
    """SECURITY row 28."""
    with RunningServer(tmp_path / "farm", clients_per_token=2) as server:
        admin = server.http()

        def greet(name: str, token: str = "agent") -> dict[str, Any]:
            """What a message that the writer refuses is answered, or the client before it."""
            with server.socket(name, server.token("agent", token)) as socket:
                nothing = {"type": "task_progress", "task_id": "nothing", "progress": 1.0}
                socket.send(json.dumps(nothing))
                error: dict[str, Any] = json.loads(socket.recv(timeout=30))["error"]
                return error

        for name in ("one", "two", "two"):
            assert greet(name)["code"] == "NOT_FOUND"
        refused = greet("three")
        assert refused["code"] == "FORBIDDEN"
        assert "2 clients already" in refused["message"]
        assert greet("three", "another")["code"] == "NOT_FOUND"
        while admin.delete("/api/v2/clients/one").status_code == 409:
            pass  # its close is heard a moment later
        assert greet("four")["code"] == "NOT_FOUND"
        assert len(admin.get("/api/v2/clients").json()["clients"]) == 3


def test_who_keeps_more_than_the_farm_gives_cannot_publish_or_submit(tmp_path: Path) -> None:
    """SECURITY row 28. What trains already is never refused a checkpoint."""
    with RunningServer(tmp_path / "farm", storage_per_submitter=1) as server:
        ada = server.http(server.token("researcher", "ada"))
        archive = pack_source(MODEL, "model", "1.0")
        assert ada.put("/models/model/1.0", content=archive).status_code == 201
        task = ada.post("/api/v2/tasks", json=BODY).json()
        with ScriptedAgent(server) as agent:
            agent.take()
            agent.running()
            agent.checkpoint(bytes(2 << 20), step=1)
            agent.end()
        more = pack_source(MODEL, "model", "2.0")
        for answer in (
            ada.post("/api/tasks", json=BODY),
            ada.post(f"/api/v2/tasks/{task['id']}/retry", json={}),
            ada.put("/models/model/2.0", content=more),
        ):
            assert answer.status_code == 403
            assert "2.0 MiB, and 1 MiB is what each submitter may have" in answer.text
        ben = server.http(server.token("researcher", "ben"))
        assert ben.post("/api/v2/tasks", json=BODY).status_code == 201
        (kept,) = ada.get(f"/api/v2/tasks/{task['id']}/checkpoints").json()["checkpoints"]
        path = f"/api/v2/tasks/{task['id']}/checkpoints/{kept['id']}"
        assert ada.delete(path).status_code == 204
        assert ada.post("/api/v2/tasks", json=BODY).status_code == 201


def test_parts_of_an_upload_are_not_held_back(strict: RunningServer) -> None:
    strict.publish()
    strict.http().post("/api/tasks", json=BODY)
    with ScriptedAgent(strict) as agent:
        held = agent.take()
        agent.running()
        http = strict.http(strict.token("agent"), **{"Client-ID": agent.name})
        data = b"weights"
        assert agent.task is not None
        ids = {"task_id": agent.task.id, "attempt": held.attempt, "rank": held.rank}
        digest = hashlib.sha256(data).hexdigest()
        upload = http.post(
            "/api/v2/uploads", json={**ids, "size": len(data), "sha256": digest}
        ).json()
        exhaust(http, "/nowhere")
        stored = http.put(f"/api/v2/uploads/{upload['id']}/parts/0", content=data)
        assert stored.status_code == 204, stored.text


def test_thirty_submits_that_are_watched_are_never_throttled(server: RunningServer) -> None:
    """At default limits. What the farm counted is read off its own headers."""
    server.publish()
    token = server.token("researcher", "ada")
    with (
        ScriptedAgent(server) as agent,
        aifarm.connect(server.url, token) as farm,
    ):
        tasks = [farm.submit("model", version="1.0", min_cpu_cores=4) for _ in range(30)]
        watching = [task.watch() for task in tasks]
        for seen in watching:
            next(seen)
        for _ in tasks:
            agent.take()
            agent.running()
            agent.end()
        for seen in watching:
            assert [info.status for info in seen][-1] == "completed"
        left = remaining(server.http(token).get("/api/tasks"))
    assert left > 5_000
