"""The live feed of a real server, and what a SIGKILL leaves of it."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

from aifarm.wire.agent import Cpu, Gpu, Memory, Resources
from integration.running import RunningServer
from integration.scripted import ScriptedAgent

BODY = {"name": "model", "url": "http://elsewhere/models/model/1.0"}


class Reader:
    """Reads message by message what comes in frames of several."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._waiting: list[dict[str, Any]] = []

    def hear(self, kind: str) -> dict[str, Any]:
        """The next message of this type; others are passed over."""
        while True:
            while self._waiting:
                message = self._waiting.pop(0)
                if message["type"] == kind:
                    return message
            self._waiting = json.loads(self._socket.recv(timeout=20))

    def say(self, message: dict[str, Any]) -> None:
        self._socket.send(json.dumps(message))

    def subscribe(self, *topics: str, since: int | None = None) -> dict[str, Any]:
        self.say({"type": "subscribe", "topics": topics, "since": since})
        return self.hear("snapshot")


@contextmanager
def reading(server: RunningServer) -> Iterator[Reader]:
    with server.live() as socket:
        yield Reader(socket)


def test_a_reader_gets_a_snapshot_and_then_what_changes(server: RunningServer) -> None:
    http = server.http()
    first = http.post("/api/v2/tasks", json=BODY).json()
    with reading(server) as reader:
        snapshot = reader.subscribe("farm")
        assert [task["id"] for task in snapshot["tasks"]] == [first["id"]]
        second = http.post("/api/v2/tasks", json=BODY).json()
        assert reader.hear("event")["event"]["kind"] == "submitted"
        assert reader.hear("task")["task"]["id"] == second["id"]
        http.delete(f"/api/v2/tasks/{second['id']}")
        assert reader.hear("task_deleted")["id"] == second["id"]


def test_a_reader_of_one_task_hears_of_no_other(server: RunningServer) -> None:
    http = server.http()
    mine = http.post("/api/v2/tasks", json=BODY).json()["id"]
    with reading(server) as reader:
        reader.subscribe(f"task:{mine}")
        http.post("/api/v2/tasks", json=BODY)
        http.put(f"/api/v2/tasks/{mine}/status", json={"status": "stopped"})
        assert reader.hear("event")["event"]["task_id"] == mine
        assert reader.hear("task")["task"]["id"] == mine


def test_a_reader_sees_what_a_client_holds_and_uses_and_whether_it_is_lent(
    server: RunningServer,
) -> None:
    server.publish()
    with ScriptedAgent(server) as agent, reading(server) as reader:
        told = reader.subscribe("farm")["clients"]
        assert [(client["lends"], client["tasks"]) for client in told] == [(True, [])]
        body = {"name": "model", "version": "1.0", "requirements": {"min_gpu_memory": 1000}}
        task_id = server.http().post("/api/v2/tasks", json=body).json()["id"]
        agent.take()
        while not (held := reader.hear("client")["client"]["tasks"]):
            pass
        assert held[0] == {"id": task_id, "status": "assigned", "progress": 0.0, "gpus": [0]}
        agent.lend(False)
        while reader.hear("client")["client"]["lends"]:
            pass
        for use in (40.0, 80.0):  # the first is a sample as well, the second is told and no more
            gpu = Gpu(0, "GPU", Memory(4096, 1024), utilization=use)
            agent.beat(resources=Resources(Cpu(4), Memory(8192), (gpu,)))
            while reader.hear("client")["client"]["resources"]["gpu"][0].get("utilization") != use:
                pass


def test_a_reader_that_was_away_resumes_by_event_number(server: RunningServer) -> None:
    http = server.http()
    with reading(server) as reader:
        seen = reader.subscribe("farm")["event"]
    missed = http.post("/api/v2/tasks", json=BODY).json()["id"]
    with reading(server) as reader:
        reader.say({"type": "subscribe", "topics": ["farm"], "since": seen})
        assert reader.hear("event")["event"]["task_id"] == missed
        assert reader.hear("snapshot")["tasks"][0]["id"] == missed


def test_points_reach_the_reader_of_a_task(server: RunningServer) -> None:
    http = server.http()
    with server.socket("ws1") as client, reading(server) as reader:
        client.send('{"type": "task_request"}')
        task_id = http.post("/api/v2/tasks", json=BODY).json()["id"]
        assert json.loads(client.recv(timeout=20))["data"]["id"] == task_id
        reader.subscribe(f"task:{task_id}")
        progress = {"type": "task_progress", "task_id": task_id, "progress": 5}
        client.send(json.dumps({**progress, "metrics": {"loss": 0.5}}))
        assert reader.hear("points")["points"][0][2] == {"loss": 0.5}
        assert http.get(f"/api/v2/tasks/{task_id}").json()["metrics"] == {"loss": 0.5}
        history = http.get(f"/api/v2/tasks/{task_id}/metrics").json()
        assert history["series"][0]["value"] == [0.5]


def test_no_event_is_lost_or_doubled_over_many_cuts(server: RunningServer) -> None:
    http = server.http()
    with reading(server) as reader:
        first = seen = reader.subscribe("farm")["event"]
    heard = []
    with ThreadPoolExecutor(1) as elsewhere:
        posting = elsewhere.submit(
            lambda: [http.post("/api/v2/tasks", json=BODY).json()["id"] for _ in range(60)]
        )
        while len(heard) < 60:
            with reading(server) as reader:
                reader.say({"type": "subscribe", "topics": ["farm"], "since": seen})
                for _ in range(min(7, 60 - len(heard))):
                    heard.append(reader.hear("event")["event"])
                    seen = heard[-1]["id"]
        submitted = posting.result()
    assert [event["id"] for event in heard] == list(range(first + 1, first + 61))
    assert [event["task_id"] for event in heard] == submitted


def test_a_reader_ahead_of_the_farm_is_told_that_it_missed_something(
    server: RunningServer,
) -> None:
    """As after the farm's database was restored from a copy."""
    with reading(server) as reader:
        reader.say({"type": "subscribe", "topics": ["farm"], "since": 1_000_000})
        snapshot = reader.hear("snapshot")
        assert (snapshot["missed"], snapshot["more"]) == (True, False)
        task_id = server.http().post("/api/v2/tasks", json=BODY).json()["id"]
        assert reader.hear("event")["event"]["task_id"] == task_id


def test_a_new_subscription_replaces_the_one_before(server: RunningServer) -> None:
    http = server.http()
    one, two = (http.post("/api/v2/tasks", json=BODY).json()["id"] for _ in range(2))
    with reading(server) as reader:
        assert reader.subscribe(f"task:{one}")["tasks"][0]["id"] == one
        assert reader.subscribe(f"task:{two}")["tasks"][0]["id"] == two
        for task_id in (one, two):
            http.put(f"/api/v2/tasks/{task_id}/status", json={"status": "stopped"})
        assert reader.hear("event")["event"]["task_id"] == two
        assert reader.subscribe(f"task:{one}")["tasks"][0]["status"] == "stopped"


def test_a_large_snapshot_comes_in_parts(server: RunningServer) -> None:
    http = server.http()
    made = {http.post("/api/v2/tasks", json=BODY).json()["id"] for _ in range(501)}
    with reading(server) as reader:
        parts = [reader.subscribe("farm"), reader.hear("snapshot")]
    assert [part["more"] for part in parts] == [True, False]
    assert {task["id"] for part in parts for task in part["tasks"]} == made


def test_history_and_feed_together_have_every_point(server: RunningServer) -> None:
    http = server.http()
    with server.socket("ws1") as client, reading(server) as reader:
        client.send('{"type": "task_request"}')
        task_id = http.post("/api/v2/tasks", json=BODY).json()["id"]
        client.recv(timeout=20)
        progress = {"type": "task_progress", "task_id": task_id, "progress": 5}

        def train(*steps: int) -> None:
            for step in steps:
                client.send(json.dumps({**progress, "metrics": {"loss": float(step)}}))

        train(*range(100))
        reader.subscribe(f"task:{task_id}")
        train(*range(100, 200))
        history = http.get(f"/api/v2/tasks/{task_id}/metrics", params={"points": "all"}).json()
        have = {step: value for one in history["series"] for step, value in _points_of(one)}
        train(200)
        while 200.0 not in have.values():
            added = reader.hear("points")
            assert added["attempt"] == 1
            have |= {step: values["loss"] for step, _, values in added["points"]}
    assert sorted(have.values()) == [float(step) for step in range(201)]


def test_nothing_is_lost_where_a_reader_changes_what_it_follows(server: RunningServer) -> None:
    """As when views open and close beside one that follows a task."""
    http = server.http()
    server.publish()
    task_id = http.post("/api/v2/tasks", json={"name": "model", "version": "1.0"}).json()["id"]
    topics = [f"task:{task_id}", "client:ws1"]
    with ScriptedAgent(server) as agent, reading(server) as reader:
        agent.take()
        agent.running()
        reader.subscribe(topics[0])
        have: list[int] = []
        for step in range(40):
            agent.points(1.0, (step, float(step), {"loss": 1.0}))  # the farm has it from here on
            reader.say({"type": "subscribe", "topics": topics[: 1 + step % 2]})
        while 39 not in have:
            have += [step for step, _, _ in reader.hear("points")["points"]]
    assert have == list(range(40))


def _points_of(series: dict[str, Any]) -> Iterator[tuple[int, float]]:
    return zip(series["step"], series["value"], strict=True)


@pytest.mark.slow
def test_a_reader_that_does_not_read_gets_the_latest_state_when_it_does(
    server: RunningServer,
) -> None:
    http = server.http()
    with server.socket("ws1") as client, server.live(max_queue=1) as socket:
        client.send('{"type": "task_request"}')
        task_id = http.post("/api/v2/tasks", json=BODY).json()["id"]
        client.recv(timeout=20)
        reader = Reader(socket)
        reader.subscribe("farm", f"task:{task_id}")
        padding = {f"metric{number}": 0.5 for number in range(200)}
        progress = {"type": "task_progress", "task_id": task_id, "metrics": padding}
        for number in range(1_000):
            client.send(json.dumps({**progress, "progress": number / 10}))
        client.send(json.dumps({"type": "task_result", "task_id": task_id, "status": "completed"}))
        assert json.loads(client.recv(timeout=120))["received"] is True
        heard = [reader.hear("task")["task"]]
        while heard[-1]["status"] != "completed":
            heard.append(reader.hear("task")["task"])
    assert len(heard) < 1_000
    assert heard[-1]["progress"] == 100.0


def test_a_bad_subscription_is_answered(shared_server: RunningServer) -> None:
    with reading(shared_server) as reader:
        reader.say({"type": "subscribe", "topics": ["everything"]})
        assert reader.hear("error")["error"]["code"] == "INVALID_REQUEST"
        reader.subscribe("farm")


def test_what_was_acknowledged_outlives_a_sigkill_of_the_server(server: RunningServer) -> None:
    http = server.http()
    with server.socket("ws1") as client:
        client.send('{"type": "task_request"}')
        acknowledged = {http.post("/api/tasks", json=BODY).json()["id"] for _ in range(20)}
        first = json.loads(client.recv(timeout=20))["data"]["id"]
        result = {"type": "task_result", "task_id": first, "status": "completed", "metrics": {}}
        client.send(json.dumps(result))
        assert json.loads(client.recv(timeout=20))["received"] is True
        server.kill()
    server.start()
    listed = {
        task["id"]: task["status"] for task in server.http().get("/api/tasks").json()["tasks"]
    }
    assert set(acknowledged) == set(listed)
    assert listed[first] == "completed"
