"""Finding, describing, trying again and throwing away tasks, over REST of a real server."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from aifarm.wire import agent as wire
from aifarm.wire.codec import encode
from aifarm.wire.live import Subscribe
from databases import change
from integration.running import RunningServer
from integration.scripted import ScriptedAgent

BODY: dict[str, Any] = {"name": "model", "version": "1.0"}


@pytest.fixture(scope="module")
def farm(shared_server: RunningServer) -> httpx.Client:
    shared_server.publish()
    return shared_server.http()


@pytest.fixture(scope="module")
def ada(shared_server: RunningServer) -> httpx.Client:
    return shared_server.http(shared_server.token("researcher", "ada"))


@pytest.fixture(scope="module")
def ben(shared_server: RunningServer) -> httpx.Client:
    return shared_server.http(shared_server.token("researcher", "ben"))


def submit(http: httpx.Client, **more: Any) -> dict[str, Any]:
    made = http.post("/api/v2/tasks", json={**BODY, **more})
    assert made.status_code == 201, made.text
    task: dict[str, Any] = made.json()
    return task


def refused(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    message: str = answer.json()["error"]["message"]
    return message


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [task["id"] for task in answer.json()["tasks"]]


# ---------------------------------------------------------------- describing


def test_what_is_said_of_a_task_can_be_changed_also_after_its_end(
    farm: httpx.Client, ada: httpx.Client
) -> None:
    task = submit(ada, project="vision", title="first", tags=["a", "b", "a"], notes="try")
    path = f"/api/v2/tasks/{task['id']}"
    assert (task["project"], task["title"], task["tags"]) == ("vision", "first", ["a", "b"])
    edited = ada.patch(path, json={"title": "second", "notes": None}).json()
    assert (edited["project"], edited["title"], edited["notes"]) == ("vision", "second", None)
    ada.put(f"{path}/status", json={"status": "stopped"})
    over = farm.patch(path, json={"tags": ["c"], "project": None})
    assert over.status_code == 200
    shown = ada.get(path).json()
    assert (shown["project"], shown["title"], shown["tags"]) == (None, "second", ["c"])
    found = {"tag": "c", "prefix": task["id"]}
    assert ids(ada.get("/api/v2/tasks", params=found)) == [task["id"]]
    assert ids(ada.get("/api/v2/tasks", params={**found, "tag": "a"})) == []
    kinds = [event["kind"] for event in ada.get(f"{path}/events").json()["events"]]
    assert kinds.count("edited") == 2


def test_only_the_submitter_and_administrators_change_a_task(
    ada: httpx.Client, ben: httpx.Client
) -> None:
    task = submit(ada)
    path = f"/api/v2/tasks/{task['id']}"
    for answer in (
        ben.patch(path, json={"title": "mine"}),
        ben.delete(path),
        ben.post(f"{path}/retry"),
    ):
        assert "belongs to ada" in refused(answer, 403)


@pytest.mark.parametrize(
    "body", [{"tags": ["a b"]}, {"tags": None}, {"title": ""}, {"status": "x"}, {"project": 3}]
)
def test_an_edit_that_is_not_valid_is_refused(ada: httpx.Client, body: dict[str, Any]) -> None:
    task = submit(ada, title="kept")
    path = f"/api/v2/tasks/{task['id']}"
    refused(ada.patch(path, json=body), 400)
    assert ada.get(path).json()["title"] == "kept"


def test_values_of_the_environment_are_for_the_submitter_and_administrators(
    farm: httpx.Client, ada: httpx.Client, ben: httpx.Client, shared_server: RunningServer
) -> None:
    task = submit(ada, env={"API_KEY": "s3cret"})
    path = f"/api/v2/tasks/{task['id']}"
    for reader in (farm, ada):
        assert reader.get(path).json()["env"] == {"API_KEY": "s3cret"}
    viewer = shared_server.http(shared_server.token("viewer"))
    for reader in (ben, viewer):
        assert reader.get(path).json()["env"] == {"API_KEY": None}
        assert "s3cret" not in reader.get("/api/v2/tasks", params={"limit": 1000}).text
        assert "s3cret" not in reader.get(f"{path}/events").text
    bad = ada.post("/api/v2/tasks", json={**BODY, "env": {"A=B": "x"}})
    refused(bad, 400)


# ---------------------------------------------------------------- finding


def test_a_list_is_narrowed_by_config_and_metrics_and_shows_summaries(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with RunningServer(tmp_path_factory.mktemp("farm")) as server, ScriptedAgent(server) as agent:
        server.publish()
        http = server.http()
        made = []
        for rate, loss in ((0.1, 0.9), (0.01, 0.5), (0.001, 0.1)):
            made.append(submit(http, learning_rate=rate, best={"f1": "min"})["id"])
            agent.take()
            agent.running()
            agent.progress(50, 1, loss=loss, f1=loss)
            agent.progress(60, 2, loss=loss + 1, f1=loss + 1)
            agent.end()

        def found(**query: Any) -> list[str]:
            return ids(http.get("/api/v2/tasks", params=query))

        assert found(where="config.learning_rate<0.05", sort="created_at") == made[1:]
        assert found(where=["metrics.loss.min<0.6", "config.learning_rate>=0.01"]) == [made[1]]
        assert found(sort="metrics.loss.last") == made[::-1]
        assert found(sort="-metrics.f1.best") == made
        listed = http.get("/api/v2/tasks", params={"summaries": ["loss"], "sort": "created_at"})
        (summary,) = listed.json()["tasks"][0]["summaries"]
        assert (summary["name"], summary["min"], summary["last"]) == ("loss", 0.9, 1.9)
        assert (summary["best"], summary["last_step"], summary["count"]) == (0.9, 2, 2)
        details = http.get(f"/api/v2/tasks/{made[0]}").json()["summaries"]
        assert {one["name"]: one["best"] for one in details} == {"loss": 0.9, "f1": 0.9}
        assert "summaries" not in http.get("/api/v2/tasks").json()["tasks"][0]

        assert found(status=["completed", "running"], limit=2, page=2) == [made[0]]
        v1 = http.get("/api/tasks", params={"status": "completed", "sort": "created_at"})
        assert [task["id"] for task in v1.json()["tasks"]] == made
        assert set(v1.json()["tasks"][0]) == {
            *("id", "type", "status", "progress", "created_at", "updated_at"),
        }
        assert http.get("/api/tasks", params={"status": "pending"}).json()["total"] == 0


def test_a_list_can_be_walked_by_cursor(ada: httpx.Client) -> None:
    made = [submit(ada, project="walk", title=f"t{n % 2}")["id"] for n in range(5)]
    for sort, expected in (("-created_at", made[::-1]), ("created_at", made)):
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            query = {"project": "walk", "sort": sort, "limit": 2, "cursor": cursor}
            page = ada.get("/api/v2/tasks", params=query)
            seen += ids(page)
            cursor = page.json()["next_cursor"]
            assert (page.json()["total"], page.json()["page"]) == (None, None)
        assert seen == expected
    first = ada.get("/api/v2/tasks", params={"project": "walk", "limit": 2}).json()
    assert (first["total"], first["page"]) == (5, 1)
    onward = {"project": "walk", "limit": 3, "cursor": first["next_cursor"]}
    assert ids(ada.get("/api/v2/tasks", params=onward)) == made[2::-1]
    refused(ada.get("/api/v2/tasks", params={**onward, "sort": "title"}), 400)
    refused(ada.get("/api/v2/tasks", params={**onward, "page": 2}), 400)


@pytest.fixture(scope="module")
def many(shared_server: RunningServer, farm: httpx.Client) -> httpx.Client:
    """Some of everything that is listed."""
    for name in ("walk-a", "walk-b", "walk-c"):
        shared_server.token("viewer", name)
        shared_server.publish(name)
        with shared_server.socket(name) as agent:
            nothing = {"type": "task_progress", "task_id": "nothing", "progress": 1.0}
            agent.send(json.dumps(nothing))
            # Refused by the writer, which by then has written whose message it was.
            assert json.loads(agent.recv(timeout=30))["type"] == "error"
    return farm


@pytest.mark.parametrize("what", ["clients", "packages", "tokens"])
def test_other_lists_are_walked_by_cursor_and_paged_too(many: httpx.Client, what: str) -> None:
    path = f"/api/v2/{what}"

    def names(page: httpx.Response) -> list[Any]:
        assert page.status_code == 200, page.text
        return [one.get("id") or (one["name"], one["version"]) for one in page.json()[what]]

    whole = many.get(path)
    count = len(names(whole))
    assert count >= 3
    assert (whole.json()["total"], whole.headers["X-Total-Count"]) == (count, str(count))
    pages = range(1, count // 2 + 2)
    paged = [name for page in pages for name in names(many.get(f"{path}?limit=2&page={page}"))]
    walked: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        step = many.get(path, params={"cursor": cursor, "limit": 2})
        walked += names(step)
        cursor = step.json()["next_cursor"]
        assert (step.json()["total"], "Link" in step.headers) == (None, False)
    assert walked == paged == names(whole)


@pytest.mark.parametrize("what", ["clients", "packages", "tokens"])
def test_a_cursor_of_another_list_is_refused(many: httpx.Client, what: str) -> None:
    other = "tokens" if what == "clients" else "clients"
    strange = many.get(f"/api/v2/{other}", params={"limit": 1}).json()["next_cursor"]
    for wrong in ({"cursor": "", "page": 2}, {"cursor": "AAAA"}, {"cursor": strange}):
        answer = many.get(f"/api/v2/{what}", params=wrong)
        refused(answer, 400)
        assert answer.json()["error"]["details"]["field"] == "cursor"


def test_pages_keep_their_filters_in_the_links(ada: httpx.Client) -> None:
    for _ in range(2):
        submit(ada, project="links", tags=["x", "y"])
    page = ada.get("/api/v2/tasks", params={"tag": ["x", "y"], "project": "links", "limit": 1})
    following = page.links["next"]["url"]
    assert len(ids(ada.get("/api/v2/tasks?" + following.partition("?")[2]))) == 1
    assert following.count("tag=") == 2


@pytest.mark.parametrize(
    "query",
    [
        {"where": "env.API_KEY=s3cret"},
        {"where": "config.lr<'; DROP TABLE tasks"},
        {"sort": "env"},
        {"status": ["running", "dancing"]},
        {"since": "yesterday"},
        {"cursor": "AAAA"},
        {"colour": "red"},
    ],
)
def test_what_cannot_be_asked_for_is_refused(ada: httpx.Client, query: dict[str, Any]) -> None:
    answer = ada.get("/api/v2/tasks", params=query)
    refused(answer, 400)
    assert answer.json()["error"]["details"]["field"].split("[")[0].rstrip(".") in query


# ---------------------------------------------------------------- many at once


def test_a_bulk_action_says_for_each_task_what_became_of_it(
    ada: httpx.Client, ben: httpx.Client
) -> None:
    mine, other = submit(ada, project="bulk"), submit(ben, project="bulk")
    wanted = [mine["id"], other["id"], "nothing"]
    body = {"action": "stop", "ids": wanted, "reason": "done"}
    results = ada.post("/api/v2/tasks/bulk", json=body).json()["results"]
    assert [one["id"] for one in results] == wanted
    assert results[0]["task"]["status"] == "stopped"
    assert [one["error"] and one["error"]["code"] for one in results] == [
        *(None, "FORBIDDEN", "NOT_FOUND")
    ]
    tag = {"action": "tag", "filter": {"project": "bulk", "submitter": "ada"}, "tags": ["z"]}
    (tagged,) = ada.post("/api/v2/tasks/bulk", json=tag).json()["results"]
    assert tagged["task"]["tags"] == ["z"]
    untag = {"action": "untag", "ids": [mine["id"]], "tags": ["z"]}
    (result,) = ada.post("/api/v2/tasks/bulk", json=untag).json()["results"]
    assert result["task"]["tags"] == []
    (again,) = ada.post("/api/v2/tasks/bulk", json={"action": "retry", "ids": [mine["id"]]}).json()[
        "results"
    ]
    assert again["task"]["parent"] == mine["id"]
    for action, shown in (("delete", []), ("restore", [mine["id"]])):
        body = {"action": action, "ids": [mine["id"]]}
        assert ada.post("/api/v2/tasks/bulk", json=body).status_code == 200
        assert ids(ada.get("/api/v2/tasks", params={"prefix": mine["id"]})) == shown


@pytest.mark.parametrize(
    "body",
    [
        {"action": "stop"},
        {"action": "stop", "ids": ["a"], "filter": {}},
        {"action": "stop", "ids": []},
        {"action": "explode", "ids": ["a"]},
        {"action": "stop", "ids": ["a"], "tags": ["b"]},
        {"action": "stop", "filter": {"where": ["nonsense"]}},
    ],
)
def test_a_bulk_action_that_is_unclear_does_nothing(
    ada: httpx.Client, body: dict[str, Any]
) -> None:
    refused(ada.post("/api/v2/tasks/bulk", json=body), 400)


# ---------------------------------------------------------------- the trash


def test_a_deleted_task_is_gone_until_it_is_restored(ada: httpx.Client, ben: httpx.Client) -> None:
    task = submit(ada, project="trash")
    path = f"/api/v2/tasks/{task['id']}"
    assert ada.delete(f"/api/tasks/{task['id']}").status_code == 204
    for gone in (f"/api/tasks/{task['id']}", path, f"{path}/events"):
        refused(ada.get(gone), 404)
    refused(ada.delete(path), 404)
    assert ids(ada.get("/api/v2/tasks", params={"project": "trash"})) == []
    trash = ada.get("/api/v2/tasks", params={"project": "trash", "deleted": "true"}).json()
    assert [one["id"] for one in trash["tasks"]] == [task["id"]]
    assert trash["tasks"][0]["deleted_at"] is not None
    assert trash["tasks"][0]["status"] == "stopped"
    refused(ben.post(f"{path}/restore"), 403)
    restored = ada.post(f"{path}/restore").json()
    assert (restored["deleted_at"], restored["status"]) == (None, "stopped")
    assert ada.get(path).status_code == 200
    refused(ada.post(f"{path}/restore"), 404)


def test_a_server_empties_its_trash_of_what_lay_there_for_a_week(server: RunningServer) -> None:
    server.publish()
    http = server.http()
    old, new = (submit(http)["id"] for _ in range(2))
    for task_id in (old, new):
        assert http.delete(f"/api/v2/tasks/{task_id}").status_code == 204
    server.stop()
    week = "UPDATE tasks SET deleted_at = deleted_at - 7 * 86400 - 1"
    change(server.database, f"{week} WHERE id = '{old}'")
    server.start()
    with server.live() as live:  # it is told when it is done
        live.send(encode(Subscribe(["farm"], since=0)).decode())
        while b'"purged"' not in live.recv(timeout=20, decode=False):
            pass
    listed = server.http().get("/api/v2/tasks", params={"deleted": "true"})
    assert ids(listed) == [new]


# ---------------------------------------------------------------- checkpoints and children


@pytest.fixture
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Any, str]]:
    """A farm with a failed task that has checkpoints of the steps 1 and 2."""
    with RunningServer(tmp_path_factory.mktemp("farm")) as server, ScriptedAgent(server) as agent:
        server.publish()
        body = {"learning_rate": 0.1, "tags": ["x"], "env": {"A": "b"}, "title": "t"}
        task = submit(server.http(), **body)
        agent.take()
        agent.running()
        agent.checkpoint(b"one", step=1)
        agent.checkpoint(b"two", step=2)
        agent.end("failed", cause="user_error", message="oops")
        yield server, agent, task["id"]


def test_a_retry_is_a_child_that_goes_on_from_the_checkpoint(
    trained: tuple[RunningServer, ScriptedAgent, str],
) -> None:
    server, agent, parent = trained
    http = server.http(**{"Idempotency-Key": "once"})
    made = http.post(f"/api/v2/tasks/{parent}/retry")
    assert made.status_code == 201, made.text
    child = made.json()
    assert http.post(f"/api/v2/tasks/{parent}/retry").json()["id"] == child["id"]
    other = http.post(f"/api/v2/tasks/{parent}/retry", json={"from_checkpoint": None})
    assert "another body" in refused(other, 409)
    assert (child["parent"], child["config"]) == (parent, {"learning_rate": 0.1})
    assert (child["tags"], child["title"], child["env"]) == (["x"], "t", {"A": "b"})
    told = agent.take()
    assert told.resume is not None
    assert (told.resume.id, told.resume.step) == (child["from_checkpoint"], 2)
    assert told.env == {"A": "b"}
    path = f"/api/v2/tasks/{child['id']}/checkpoints/{told.resume.id}/data"
    data = server.http(server.token("agent")).get(path)
    assert hashlib.sha256(data.content).hexdigest() == told.resume.sha256
    assert ids(http.get("/api/v2/tasks", params={"parent": parent})) == [child["id"]]
    refused(http.post(f"/api/v2/tasks/{child['id']}/retry", json={}), 409)


def test_a_task_begins_with_the_checkpoint_it_names(
    trained: tuple[RunningServer, ScriptedAgent, str],
) -> None:
    server, agent, parent = trained
    http = server.http()
    found = http.get(f"/api/v2/tasks/{parent}/checkpoints").json()["checkpoints"]
    first = next(one["id"] for one in found if one["step"] == 1)
    child = submit(http, from_checkpoint=first)
    told = agent.take()
    assert (child["parent"], told.resume and told.resume.step) == (parent, 1)
    # A child whose steps begin anew resumes from its own checkpoint, not its parent's later one.
    agent.running()
    agent.checkpoint(b"its own", step=0)
    agent.end("failed", cause="user_error")
    assert http.get(f"/api/v2/tasks/{child['id']}").json()["checkpoint_id"] != first
    assert submit(http, from_checkpoint=parent)["parent"] == parent
    refused(http.post("/api/v2/tasks", json={**BODY, "from_checkpoint": "nowhere"}), 404)
    refused(http.post("/api/v2/tasks", json={**BODY, "parent": "nobody"}), 404)
    bare = submit(http)["id"]
    refused(http.post("/api/v2/tasks", json={**BODY, "from_checkpoint": bare}), 409)


@pytest.mark.parametrize(
    ("found", "kind", "words"),
    [
        (wire.Resumed(), "resumed", "Resumed at step 2."),
        (
            wire.Resumed(0.1234567, 0.1234567, True),
            "resumed",
            "Resumed at step 2; the reference loss is the same (0.123457).",
        ),
        (
            wire.Resumed(None, 0.5, False),
            "resume_differs",
            "Resumed at step 2, but the reference loss is no number and was 0.5: the training may"
            " not be the same.",
        ),
    ],
)
def test_the_story_says_whether_a_resume_is_the_same_training(
    trained: tuple[RunningServer, ScriptedAgent, str], found: wire.Resumed, kind: str, words: str
) -> None:
    server, agent, parent = trained
    child = submit(server.http(), from_checkpoint=parent)["id"]
    agent.take()
    agent.running(step=2, resumed=found)
    events = server.http().get(f"/api/v2/tasks/{child}/events").json()["events"]
    assert [one["message"] for one in events if one["kind"] == kind] == [words]


def test_a_checkpoint_is_deleted_unless_somebody_needs_it(
    trained: tuple[RunningServer, ScriptedAgent, str],
) -> None:
    server, _, parent = trained
    http = server.http()
    path = f"/api/v2/tasks/{parent}/checkpoints"
    latest, first = http.get(path).json()["checkpoints"]
    pinned = http.put(f"{path}/{first['id']}/pin", json={"pinned": True})
    assert pinned.json()["pinned"] is True
    assert "pinned" in refused(http.delete(f"{path}/{first['id']}"), 409)
    child = submit(http, from_checkpoint=latest["id"], requirements={"min_cpu_cores": 64})
    assert "would resume" in refused(http.delete(f"{path}/{latest['id']}"), 409)
    http.put(f"/api/v2/tasks/{child['id']}/status", json={"status": "stopped"})
    assert http.delete(f"{path}/{latest['id']}").status_code == 204
    assert [one["id"] for one in http.get(path).json()["checkpoints"]] == [first["id"]]
    assert http.get(f"/api/v2/tasks/{parent}").json()["checkpoint_id"] == first["id"]
    refused(http.get(f"{path}/{latest['id']}/data"), 404)
    http.put(f"{path}/{first['id']}/pin", json={"pinned": False})
    assert http.delete(f"{path}/{first['id']}").status_code == 204
    assert not list((server.data_dir / "artifacts").glob("checkpoints/**/part=*"))


# ---------------------------------------------------------------- packages


def test_packages_are_listed_shown_and_deleted_when_nobody_uses_them(
    farm: httpx.Client, ada: httpx.Client, shared_server: RunningServer
) -> None:
    shared_server.publish("gone", "1")
    shared_server.publish("gone", "2")
    page = farm.get("/api/v2/packages", params={"name": "gone", "limit": 1, "page": 2})
    assert [one["version"] for one in page.json()["packages"]] == ["2"]
    assert page.headers["X-Total-Count"] == "2"
    shown = farm.get("/api/v2/packages/gone/1").json()
    assert shown["manifest"]["name"] == "gone"
    refused(farm.get("/api/v2/packages/gone/9"), 404)
    task = submit(ada, name="gone", version="1")
    path = f"/api/v2/tasks/{task['id']}"
    refused(ada.delete("/api/v2/packages/gone/1"), 403)
    assert "not over" in refused(farm.delete("/api/v2/packages/gone/1"), 409)
    ada.delete(path)
    assert "in the trash" in refused(farm.delete("/api/v2/packages/gone/1"), 409)
    ada.post(f"{path}/restore")
    assert farm.delete("/api/v2/packages/gone/1").status_code == 204
    refused(farm.get("/models/gone/1"), 404)
    assert "publish it first" not in refused(ada.post(f"{path}/retry"), 404)
    assert farm.get("/models/gone/2").status_code == 200
