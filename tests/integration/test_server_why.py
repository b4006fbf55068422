"""Why a task waits, a dry run, and what administrators do with clients, over REST."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from aifarm.wire import agent as wire
from integration.running import RunningServer
from integration.scripted import ScriptedAgent

BODY: dict[str, Any] = {"name": "model", "version": "1.0"}


def needing(**requirements: int) -> dict[str, Any]:
    return {**BODY, "requirements": {f"min_{name}": n for name, n in requirements.items()}}


@pytest.fixture
def farm(server: RunningServer) -> RunningServer:
    server.publish()
    return server


@pytest.fixture
def agent(farm: RunningServer) -> Iterator[ScriptedAgent]:
    with ScriptedAgent(farm) as connected:
        yield connected


def test_a_waiting_task_says_who_holds_what_it_needs(
    farm: RunningServer, agent: ScriptedAgent
) -> None:
    kim = farm.http(farm.token("researcher", "kim"))
    running = kim.post("/api/v2/tasks", json=needing(cpu_cores=3)).json()["id"]
    agent.take()
    waiting = kim.post("/api/v2/tasks", json=needing(cpu_cores=2)).json()["id"]
    large = kim.post("/api/v2/tasks", json=needing(cpu_cores=5)).json()["id"]
    why = kim.get(f"/api/v2/tasks/{waiting}/why").json()
    assert why["clients"] == [
        {
            "client": "ws1",
            "reason": "needs 2 CPU cores, 1 free",
            "never": False,
            "tasks": [{"id": running, "submitter": "kim"}],
        }
    ]
    assert why["position"] == 1
    assert why["hints"] == [
        "It would start now with min_cpu_cores 1 on ws1.",
        f"ws1 fits once task {running[:8]} of kim ends.",
    ]
    assert why["summary"].endswith(why["hints"][0])
    why = kim.get(f"/api/v2/tasks/{large}/why").json()
    assert (why["position"], why["clients"][0]["never"]) == (2, True)
    why = kim.get(f"/api/v2/tasks/{running}/why").json()
    assert (why["summary"], why["position"]) == ("It does not wait: it is assigned.", None)


def test_a_gpu_that_another_agent_has_is_not_given_out(
    farm: RunningServer, agent: ScriptedAgent
) -> None:
    http = farm.http()
    wanted = needing(gpu_memory=1000)
    assert http.post("/api/v2/tasks/check", json=wanted).json()["would_start"]

    def tell(held: bool) -> Any:
        gpu = wire.Gpu(0, "GPU", wire.Memory(4096), held=held)
        agent.beat(resources=wire.Resources(wire.Cpu(4), wire.Memory(8192), (gpu,)))
        while True:  # nothing answers a heartbeat
            if http.get("/api/v2/clients").json()["clients"][0]["resources"]["gpu"][0] == {
                "id": 0,
                "name": "GPU",
                "memory": {"total": 4096, "used": 0},
                **({"held": True} if held else {}),
            }:
                return http.post("/api/v2/tasks/check", json=wanted).json()

    told = tell(held=True)
    assert (told["would_start"], told["could"]) == (False, ["ws1"])
    assert told["misses"][0]["reason"] == (
        "needs a GPU with 1000 MiB, no GPU free; another agent of the same machine has some"
    )
    assert tell(held=False)["would_start"]


def test_a_dry_run_says_what_a_submission_would_do_and_stores_nothing(
    farm: RunningServer, agent: ScriptedAgent
) -> None:
    http = farm.http()
    fits = http.post("/api/v2/tasks/check", json=BODY).json()
    assert (fits["would_start"], fits["fits"], fits["misses"]) == (True, ["ws1"], [])
    gang = {**BODY, "n_clients": 2, "distributed": True}
    alone = http.post("/api/v2/tasks/check", json=gang).json()
    assert (alone["would_start"], alone["fits"]) == (False, ["ws1"])
    assert alone["hints"] == ["It would start now with n_clients 1."]
    large = http.post("/api/v2/tasks/check", json=needing(ram=9000)).json()
    assert (large["would_start"], large["could"]) == (False, [])
    assert large["misses"][0]["reason"] == "too small: needs 9000 MiB of RAM, it has 8192"
    assert large["summary"] == "No client of this farm is large enough for it."
    assert http.get("/api/v2/tasks").json()["total"] == 0
    assert {event["kind"] for event in http.get("/api/v2/events").json()["events"]} == {
        "token_created",
        "published",
    }


@pytest.mark.parametrize(
    "body",
    [
        {**BODY, "n_clients": 2},
        {**BODY, "version": "9"},
        {**BODY, "epochs": 1, "config": {"epochs": 2}},
        {**BODY, "colour": "red"},
        {**BODY, "url": "ftp://elsewhere/model"},
    ],
)
def test_a_dry_run_refuses_what_a_creation_refuses(
    shared_server: RunningServer, body: dict[str, Any]
) -> None:
    http = shared_server.http()
    dry, wet = (http.post(f"/api/v2/tasks{end}", json=body) for end in ("/check", ""))
    assert dry.status_code == wet.status_code >= 400
    assert dry.json() == wet.json()


def test_a_drained_client_gets_no_new_task_until_it_is_undrained(
    farm: RunningServer, agent: ScriptedAgent
) -> None:
    http = farm.http()
    drain = {"drained": True, "reason": "a new disk"}
    for _ in range(2):
        answered = http.put("/api/v2/clients/ws1/drain", json=drain)
        assert (answered.status_code, answered.json()["drained"]) == (200, "a new disk (by admin)")
    task_id = http.post("/api/v2/tasks", json=BODY).json()["id"]
    why = http.get(f"/api/v2/tasks/{task_id}/why").json()
    assert why["clients"][0]["reason"] == "drained: a new disk (by admin)"
    assert why["hints"] == ["ws1 would fit, but it is drained: a new disk (by admin)."]
    assert http.put("/api/v2/clients/ws1/drain", json={"drained": False}).json()["drained"] is None
    assert agent.take().attempt == 1
    events = http.get("/api/v2/clients/ws1/events").json()["events"]
    assert [event["kind"] for event in events] == ["drained", "undrained", "assigned"]
    assert http.put("/api/v2/clients/ws9/drain", json=drain).status_code == 404
    researcher = farm.http(farm.token("researcher"))
    assert researcher.put("/api/v2/clients/ws1/drain", json=drain).status_code == 403


def test_a_retired_client_is_forgotten_but_not_what_it_ran(farm: RunningServer) -> None:
    http = farm.http()
    with ScriptedAgent(farm) as agent:
        assert http.delete("/api/v2/clients/ws1").status_code == 409
        task_id = http.post("/api/v2/tasks", json=BODY).json()["id"]
        agent.take()
        agent.running()
    while http.get("/api/v2/clients/ws1").json()["status"] == "active":
        pass
    busy = http.delete("/api/v2/clients/ws1")
    assert (busy.status_code, task_id in busy.json()["error"]["message"]) == (409, True)
    with ScriptedAgent(farm) as agent:
        agent.take()
        agent.end()
    while http.get("/api/v2/clients/ws1").json()["status"] == "active":
        pass
    assert http.delete("/api/v2/clients/ws1").status_code == 204
    assert http.get("/api/v2/clients/ws1").status_code == 404
    assert http.get("/api/v2/clients").json()["clients"] == []
    assert http.delete("/api/v2/clients/ws1").status_code == 404
    attempts = http.get(f"/api/v2/tasks/{task_id}/attempts").json()["attempts"]
    assert attempts[0]["clients"] == ["ws1"]
    farm.kill()
    farm.start()
    assert farm.http().get("/api/v2/clients").json()["clients"] == []
    with ScriptedAgent(farm):
        assert farm.http().get("/api/v2/clients/ws1").json()["status"] == "active"


def test_an_attempt_shows_its_ranks(farm: RunningServer) -> None:
    http = farm.http()
    gang = {**BODY, "n_clients": 2, "distributed": True}
    with ScriptedAgent(farm, "ws1") as one, ScriptedAgent(farm, "ws2") as two:
        task_id = http.post("/api/v2/tasks", json=gang).json()["id"]
        ranks = {agent.take().rank: agent for agent in (one, two)}
        ranks[1].running()
        (attempt,) = http.get(f"/api/v2/tasks/{task_id}/attempts").json()["attempts"]
        assert [rank["state"] for rank in attempt["ranks"]] == ["assigned", "running"]
        assert [rank["seq"] for rank in attempt["ranks"]] == [0, 1]
        assert [rank["client"] for rank in attempt["ranks"]] == attempt["clients"]
        ranks[1].end()
        (attempt,) = http.get(f"/api/v2/tasks/{task_id}/attempts").json()["attempts"]
        assert [rank["state"] for rank in attempt["ranks"]] == ["assigned", "completed"]
        assert [rank["seq"] for rank in attempt["ranks"]] == [0, None]


def test_a_task_goes_where_its_environment_is_and_its_paths_can_be_read(
    farm: RunningServer,
) -> None:
    http = farm.http()
    own = wire.Environment("default", "3.11.7", "2.13.0+cpu")
    lab = wire.Environment("lab", "3.12.1", "2.12.0", "12.6")
    body = {**BODY, "environment": "lab", "mounts": {"data": "/srv/one", "more": "/srv/two"}}
    body["args"] = ["--data", "data"]
    with ScriptedAgent(farm, "ws1", (own, lab)) as one, ScriptedAgent(farm, "ws2", (own,)) as two:
        shown = http.get("/api/v2/clients/ws1").json()["environments"]
        assert [(of["name"], of["torch"], of["cuda"]) for of in shown] == [
            ("default", "2.13.0+cpu", None),
            ("lab", "2.12.0", "12.6"),
        ]
        task_id = http.post("/api/v2/tasks", json=body).json()["id"]
        assert one.look(one=True, two=False) == ("/srv/one", "/srv/two")
        two.look(one=True, two=True)
        reasons = [reason_on(http, task_id, name) for name in ("ws1", "ws2")]
        assert reasons == ["it cannot read /srv/two", "it has no environment lab (it has: default)"]
        one._say(wire.Readable(paths={"/srv/two": True}))
        assigned = one.take()
        assert (assigned.environment, assigned.program.mounts) == ("lab", body["mounts"])
        with farm.socket("page") as page:
            page.send('{"type": "task_request"}')
            large = {**body, "requirements": {"min_cpu_cores": 4}}
            waiting = http.post("/api/v2/tasks", json=large).json()["id"]
            assert reason_on(http, waiting, "page").startswith("it has no environment lab")


def reason_on(http: httpx.Client, task_id: str, client: str) -> str:
    """Why the task is not on that client, once the client has said what it can read."""
    while True:
        found = http.get(f"/api/v2/tasks/{task_id}/why").json()["clients"]
        reason: str = next((one["reason"] for one in found if one["client"] == client), "not said")
        if "not said" not in reason:
            return reason


def test_two_ranks_on_one_client_know_their_places(farm: RunningServer) -> None:
    http = farm.http()
    body = {**BODY, "distributed": True, "processes_per_client": 2}
    with ScriptedAgent(farm) as agent:
        task_id = http.post("/api/v2/tasks", json=body).json()["id"]
        ranks = [agent.take(), agent.take()]
        assert [(one.rank, one.local_rank, one.local_world_size) for one in ranks] == [
            (0, 0, 2),
            (1, 1, 2),
        ]
        assert [one.world_size for one in ranks] == [2, 2]
        shown = http.get(f"/api/v2/tasks/{task_id}").json()
        assert (shown["n_clients"], shown["processes_per_client"]) == (1, 2)
        assert shown["clients"] == ["ws1", "ws1"]
        assert [one["id"] for one in http.get("/api/v2/clients/ws1").json()["tasks"]] == [task_id]


def test_one_rank_per_gpu_takes_as_many_as_the_client_has(farm: RunningServer) -> None:
    http = farm.http()
    body = {**BODY, "distributed": True, "processes_per_client": "gpu"}
    with ScriptedAgent(farm) as agent:
        task_id = http.post("/api/v2/tasks", json=body).json()["id"]
        assigned = agent.take()
        assert (assigned.world_size, assigned.gpus) == (1, (0,))
        shown = http.get(f"/api/v2/tasks/{task_id}").json()
        assert shown["processes_per_client"] == "gpu"
        again = http.post("/api/v2/tasks", json=body).json()["id"]
        assert reason_on(http, again, "ws1") == "needs a GPU with 1 MiB, no GPU free"
        agent.end("failed", cause="user_error")
        assert agent.take().gpus == (0,)
        retried = http.post(f"/api/v2/tasks/{task_id}/retry").json()
        assert retried["processes_per_client"] == "gpu"


def test_a_client_tells_how_it_did_and_what_it_used(
    farm: RunningServer, agent: ScriptedAgent
) -> None:
    http = farm.http()
    nothing = {"completed_tasks": 0, "ended_attempts": 0}
    unknown = {"average_time": None, "success_rate": None}
    assert http.get("/api/v2/clients/ws1").json()["performance"] == {**nothing, **unknown}
    gpu = wire.Gpu(0, "GPU", wire.Memory(4096, 1024), utilization=50.0)
    used = wire.Resources(wire.Cpu(4, 25.0), wire.Memory(8192, 2048), (gpu,))
    agent.beat(cpu_usage=25.0, ram_usage=25.0, resources=used)
    http.post("/api/v2/tasks", json=BODY)
    agent.take()
    agent.end()
    performance = http.get("/api/v2/clients/ws1").json()["performance"]
    assert (performance["completed_tasks"], performance["success_rate"]) == (1, 1.0)
    history = http.get("/api/v2/clients/ws1/history").json()
    assert (history["cpu"], history["ram"]) == ([25.0], [25.0])
    assert history["gpus"] == [
        {"id": 0, "memory_used": [1024.0], "utilization": [50.0], "temperature": [None]}
    ]
    asked = {"since": "2020-01-01T00:00:00Z", "until": "2020-01-02T00:00:00Z"}
    before = http.get("/api/v2/clients/ws1/history", params=asked).json()
    assert (before["time"], before["gpus"]) == ([], [])
    turned = {"since": asked["until"], "until": asked["since"]}
    refused = http.get("/api/v2/clients/ws1/history", params=turned)
    assert (refused.status_code, refused.json()["error"]["details"]["field"]) == (400, "since")
