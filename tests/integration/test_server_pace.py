"""What a gang measured is in its story, and known to dry runs of the same package."""

from typing import Any

import pytest

from integration.running import RunningServer
from integration.scripted import ScriptedAgent

GANG: dict[str, Any] = {"name": "model", "version": "1.0", "n_clients": 2, "distributed": True}


def check(server: RunningServer, **more: Any) -> Any:
    return server.http().post("/api/v2/tasks/check", json={**GANG, **more}).json()


def test_the_pace_of_a_gang_is_told_and_foretold(server: RunningServer) -> None:
    server.publish()
    http = server.http()
    with ScriptedAgent(server, "ws1") as one, ScriptedAgent(server, "ws2") as two:
        assert check(server)["step_seconds"] is None
        assert "not known" in check(server)["pace"]
        assert check(server, n_clients=1)["pace"] is None

        task_id = http.post("/api/v2/tasks", json=GANG).json()["id"]
        ranks = {agent.take().rank: agent for agent in (one, two)}
        for agent in ranks.values():
            agent.running()
        ranks[0].measured(compute=0.2, gradients=100, bandwidth=10, latency=0.01)
        events = http.get(f"/api/v2/tasks/{task_id}/events").json()["events"]
        told = next(event for event in events if event["kind"] == "slow_gang")
        assert told["attempt"] == 1
        assert told["message"].startswith("2 ranks: about 10 s a step (200 ms computing, 10 s for")
        assert "One of these clients alone would train faster" in told["message"]

        foretold = check(server)
        assert foretold["step_seconds"] == pytest.approx(0.2 + 0.01 + 10)
        assert foretold["pace"] == told["message"]
        three = check(server, n_clients=3)
        assert three["step_seconds"] == pytest.approx(0.4 / 3 + 0.01 + 4 / 3 * 10)


def test_links_that_another_package_was_trained_over_are_known_too(server: RunningServer) -> None:
    server.publish()
    server.publish("other")
    with ScriptedAgent(server, "ws1") as one, ScriptedAgent(server, "ws2") as two:
        for name, bandwidth in (("model", 10.0), ("other", 1000.0)):
            task_id = server.http().post("/api/v2/tasks", json={**GANG, "name": name}).json()["id"]
            ranks = {agent.take().rank: agent for agent in (one, two)}
            for agent in ranks.values():
                agent.running()
            ranks[0].measured(compute=0.2, gradients=100, bandwidth=bandwidth, latency=0)
            for agent in ranks.values():
                agent.end()
            assert server.http().get(f"/api/v2/tasks/{task_id}").json()["status"] == "completed"
        assert check(server)["step_seconds"] == pytest.approx(0.2 + 0.1)


def test_what_a_stale_gang_measured_is_refused(server: RunningServer) -> None:
    server.publish()
    http = server.http()
    with ScriptedAgent(server, "ws1") as one, ScriptedAgent(server, "ws2") as two:
        task_id = http.post("/api/v2/tasks", json=GANG).json()["id"]
        ranks = {agent.take().rank: agent for agent in (one, two)}
        http.put(f"/api/tasks/{task_id}/status", json={"status": "stopped"})
        ranks[1].end("failed", cause="agent_lost")
        ranks[0].measured(compute=0.2, gradients=100, bandwidth=10, latency=0)
        assert check(server)["step_seconds"] is None
