"""Metrics as CSV, logs as pages and as text, and a log that is followed, over REST."""

import csv
import io
from collections.abc import Iterator

import pytest

from integration.running import RunningServer
from integration.scripted import ScriptedAgent
from integration.test_server_live import reading

BODY = {"name": "model", "version": "1.0"}


@pytest.fixture
def agent(server: RunningServer) -> Iterator[ScriptedAgent]:
    server.publish()
    with ScriptedAgent(server) as connected:
        yield connected


def test_metrics_come_as_csv_with_every_point(server: RunningServer, agent: ScriptedAgent) -> None:
    http = server.http()
    task_id = http.post("/api/v2/tasks", json=BODY).json()["id"]
    agent.take()
    agent.running()
    for step in range(20):
        agent.progress(step, step, loss=1.0 / (step + 1), **{'odd, "name"': float(step)})
    answer = http.get(f"/api/v2/tasks/{task_id}/metrics.csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["name"] for row in rows] == ["loss"] * 20 + ['odd, "name"'] * 20
    assert [float(row["value"]) for row in rows[:20]] == [1.0 / (n + 1) for n in range(20)]
    asked = {"names": "loss", "first_step": 5, "last_step": 7}
    some = http.get(f"/api/v2/tasks/{task_id}/metrics.csv", params=asked).text.splitlines()
    assert [line.split(",")[:2] for line in some[1:]] == [["loss", str(n)] for n in (5, 6, 7)]
    assert http.get("/api/v2/tasks/none/metrics.csv").status_code == 404


def test_logs_come_as_text_and_by_their_end(server: RunningServer) -> None:
    server.publish()
    http = server.http()
    gang = {**BODY, "n_clients": 2, "distributed": True}
    with ScriptedAgent(server, "ws1") as one, ScriptedAgent(server, "ws2") as two:
        task_id = http.post("/api/v2/tasks", json=gang).json()["id"]
        for agent in (one, two):
            rank = agent.take().rank
            agent.log(*(f"{rank}: line {n}" for n in range(1500)))
        logs = f"/api/v2/tasks/{task_id}/logs"
        page = http.get(logs, params={"tail": 2}).json()
        assert page["lines"] == ["0: line 1498", "0: line 1499"]
        assert (page["first"], page["next"], page["total"]) == (1498, 1500, 1500)
        text = http.get(f"{logs}.txt")
        assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert text.text == "".join(f"0: line {n}\n" for n in range(1500))
        everyone = http.get(f"{logs}.txt", params={"rank": "all", "tail": 1}).text
        assert everyone == "[rank 0] 0: line 1499\n[rank 1] 1: line 1499\n"
        assert http.get(f"{logs}.txt", params={"attempt": 7}).text == ""


def test_a_log_is_followed_without_a_gap(server: RunningServer, agent: ScriptedAgent) -> None:
    http = server.http()
    task_id = http.post("/api/v2/tasks", json=BODY).json()["id"]
    agent.take()
    written: list[str] = []

    def write(count: int) -> None:
        written.extend(f"line {len(written) + n}" for n in range(count))
        agent.log(*written[-count:])

    write(3)
    read: list[str] = []

    def news() -> None:
        asked = {"first": len(read), "limit": 2}
        while lines := http.get(f"/api/v2/tasks/{task_id}/logs", params=asked).json()["lines"]:
            read.extend(lines)
            asked["first"] = len(read)

    with reading(server) as reader:
        reader.subscribe(f"task:{task_id}")
        news()
        for count in (1, 5, 2):
            write(count)
            while reader.hear("log")["total"] < len(written):
                pass
            news()
            assert read == written
