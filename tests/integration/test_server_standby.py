"""Two servers on one PostgreSQL, and a database that goes away (FAULTS rows 18 and 35)."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection

import aifarm
from databases import Cluster, change
from integration.running import RunningServer, free_port

BODY: dict[str, Any] = {"name": "model", "version": "1.0"}


@pytest.fixture
def url() -> Iterator[str]:
    cluster = Cluster.shared()
    url = cluster.empty()
    yield url
    cluster.drop(url)


@pytest.fixture
def leader(url: str, tmp_path: Path) -> Iterator[RunningServer]:
    with running(url, tmp_path, "first") as server:
        server.publish()
        yield server


def running(url: str, tmp_path: Path, name: str) -> RunningServer:
    """Servers on machines of their own share the artifacts."""
    artifacts = (tmp_path / "artifacts").as_uri()
    return RunningServer(tmp_path / name, database=url, artifacts=artifacts)


def until_it_leads(server: RunningServer) -> None:
    with httpx.Client(base_url=server.url) as client:
        while client.get("/api/health").json()["status"] != "ok":
            os.sched_yield()


def test_a_second_server_stands_by_and_takes_over(
    url: str, tmp_path: Path, leader: RunningServer
) -> None:
    http = leader.http()
    task_id = http.post("/api/tasks", json=BODY).json()["id"]
    with running(url, tmp_path, "second") as standby:
        with httpx.Client(base_url=standby.url) as client:
            assert client.get("/api/health").json()["status"] == "standby"
            for method, path in (("GET", "/api/tasks"), ("POST", "/api/v2/tasks"), ("GET", "/")):
                refused = client.request(method, path)
                assert refused.status_code == 503
                assert refused.json()["error"]["code"] == "SERVICE_UNAVAILABLE"
                assert refused.headers["Retry-After"] == "1"
        assert not (standby.data_dir / "admin-token").exists()
        assert http.get(f"/api/tasks/{task_id}").status_code == 200
        leader.kill()
        until_it_leads(standby)
        there = standby.http(leader.admin_token).get(f"/api/tasks/{task_id}")
        assert there.status_code == 200
        leader.start()
        assert leader.http().get("/api/health").json()["status"] == "standby"


def test_the_sdk_goes_on_with_the_server_that_took_over(
    url: str, tmp_path: Path, leader: RunningServer
) -> None:
    with running(url, tmp_path, "second") as standby:
        servers = [standby.url, leader.url]
        with aifarm.connect(servers, leader.admin_token) as farm:
            assert farm.url == leader.url
            task = farm.submit("model", version="1.0")
            leader.kill()
            assert farm.task(task.id).info.id == task.id
            assert farm.url == standby.url


def test_a_database_that_restarts_is_waited_for(leader: RunningServer, url: str) -> None:
    """It goes on with what the database says, and nobody has to start it again."""
    http = leader.http()
    task_id = http.post("/api/tasks", json=BODY).json()["id"]
    cluster = Cluster.shared()
    with leader.socket("ws1") as agent, leader.live() as reader:
        reader.send('{"type": "subscribe", "topics": ["farm"]}')
        reader.recv()
        cluster.do(f"ALTER DATABASE {cluster.name(url)} ALLOW_CONNECTIONS false")
        cluster.disconnect(url)
        for socket in (agent, reader):
            assert goodbye(socket) == 1001
        away = http.post("/api/tasks", json=BODY)
        assert (away.status_code, away.headers["Retry-After"]) == (503, "1")
    cluster.do(f"ALTER DATABASE {cluster.name(url)} ALLOW_CONNECTIONS true")
    until_it_leads(leader)
    found = http.get(f"/api/tasks/{task_id}")
    assert found.status_code == 200, found.text
    assert http.post("/api/tasks", json=BODY).status_code == 201
    assert leader.stop() == 0


def goodbye(socket: ClientConnection) -> int | None:
    """The code with which the server ends the connection."""
    for _ in socket:
        pass
    return socket.close_code


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_server_stops_where_another_program_writes(kind: str, url: str, tmp_path: Path) -> None:
    database = url if kind == "postgresql" else f"sqlite:///{tmp_path}/farm.db"
    port = free_port()
    command = [sys.executable, "-m", "aifarm.cli", "server", "--port", str(port)]
    command += ["--data-dir", str(tmp_path), "--database", database]
    server = RunningServer(tmp_path)
    server.port, server.url = port, f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        server.process = process  # type: ignore[assignment]
        server.until_healthy()
        server.publish()
        http = server.http()
        task_id = http.post("/api/tasks", json=BODY).json()["id"]
        change(database, "UPDATE tasks SET attempt = 7")
        refused = http.put(f"/api/tasks/{task_id}/status", json={"status": "paused"})
        assert refused.status_code == 503
        assert process.stderr is not None
        told = process.stderr.read()
        assert server.stop() == 1
    assert "does another program write to it?" in told.splitlines()[-1]


def test_a_database_that_does_not_answer_at_the_start_is_an_error(tmp_path: Path) -> None:
    url = "postgresql+psycopg://ann:secret@127.0.0.1:1/farm"
    command = [sys.executable, "-m", "aifarm.cli", "server", "--port", "0"]
    command += ["--data-dir", str(tmp_path), "--database", url]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "The PostgreSQL database farm at 127.0.0.1 cannot be opened" in done.stderr
    assert "secret" not in done.stderr
