"""What a server says of itself: its health, its measures, its reference."""

import json
import re
from pathlib import Path

import httpx
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from integration.running import RunningServer
from integration.scripted import ScriptedAgent

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
BODY = {"name": "model", "version": "1.0"}


def scrape(server: RunningServer) -> dict[tuple[str, ...], float]:
    """Values by name and labels: ("aifarm_clients", "ready")."""
    text = server.http(server.token("viewer")).get("/metrics").text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in plain(text)
        for sample in family.samples
    }


def test_health_and_readiness_need_no_token(shared_server: RunningServer) -> None:
    for path, status in {"/api/health": "ok", "/api/ready": "ready"}.items():
        answer = httpx.get(shared_server.url + path)
        assert (answer.status_code, answer.json()["status"]) == (200, status)


def test_administrators_see_how_the_server_is(shared_server: RunningServer) -> None:
    shown = shared_server.http().get("/api/v2/system").json()
    assert shared_server.database.startswith(shown["database"])
    assert 0 < shown["disk_free"] <= shown["disk_total"]
    assert shown["uptime"] > 0


def test_a_scrape_counts_what_a_task_went_through(server: RunningServer) -> None:
    server.publish()
    with ScriptedAgent(server) as agent:
        waiting = scrape(server)
        assert waiting["aifarm_clients", "ready"] == 1
        assert waiting["aifarm_sockets", "agent"] == 1
        server.http().post("/api/tasks", json=BODY)
        agent.take()
        agent.running()
        running = scrape(server)
        assert running["aifarm_queue_wait_seconds_count",] == 1
        assert running["aifarm_events_total", "assigned"] == 1
        agent.progress(50.0, 1, loss=0.5, accuracy=0.5)
        busy = server.http(server.token("viewer")).get("/api/v2/metrics").json()
        agent.end()
    assert busy["clients"] == {"total": 1, "active": 1}
    assert {state: count for state, count in busy["tasks"].items() if count} == {"running": 1}
    assert busy["usage"]["gpu"] is None
    assert busy["points_per_second"] > 0
    assert server.http().get("/api/v2/metrics").json()["ended_last_hour"] == 1
    ended = scrape(server)
    assert ended["aifarm_tasks_ended_total", "completed"] == 1
    assert ended["aifarm_agent_messages_total",] >= 3
    assert ended["aifarm_agent_message_bytes_total",] > 100
    assert ended["aifarm_commit_seconds_count",] == ended["aifarm_batch_operations_count",] > 0
    assert ended["aifarm_http_requests_total", "POST", "/api/tasks", "201"] == 1
    assert ended["process_cpu_seconds_total",] > 0
    states = {key[1] for key in ended if key[0] == "aifarm_tasks"}
    assert states == {"pending", "assigned", "running", "paused", "unreachable"}


def test_a_scraper_may_ask_for_openmetrics(shared_server: RunningServer) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    answer = shared_server.http().get("/metrics", headers=accept)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert "aifarm_loop_lag_seconds" in {family.name for family in openmetrics(answer.text)}


def test_the_reference_is_served_as_it_is_committed(shared_server: RunningServer) -> None:
    for name in ("openapi.json", "asyncapi.json"):
        answer = shared_server.http().get(f"/api/{name}")
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json() == json.loads((REFERENCE / name).read_text())


def test_the_page_of_the_reference_may_load_its_own_style_and_nothing_else(
    shared_server: RunningServer,
) -> None:
    answer = httpx.get(f"{shared_server.url}/api/docs")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert re.search(r"style-src 'sha256-[\w+/]+='", policy)
