"""Finding, describing, repeating and deleting tasks through the SDK, against a real server."""

import io
from collections.abc import Iterator
from itertools import count

import psutil
import pytest

import aifarm
from aifarm.sdk import Conflict, InvalidRequest, NotFound
from aifarm.wire import query
from integration.running import MODEL, RunningServer
from integration.scripted import ScriptedAgent

names = (f"finding{number}" for number in count(1))


@pytest.fixture
def farm(shared_server: RunningServer) -> Iterator[aifarm.Farm]:
    """A farm whose queue is empty again afterwards."""
    with aifarm.connect(shared_server.url, shared_server.admin_token) as connected:
        connected.publish(MODEL, name="model", version="1.0")
        yield connected
        connected.bulk("stop", connected.tasks(status="pending"))


@pytest.fixture
def agent(shared_server: RunningServer) -> Iterator[ScriptedAgent]:
    with ScriptedAgent(shared_server, next(names)) as scripted:
        yield scripted


def test_what_a_task_is_called_can_be_said_and_changed(farm: aifarm.Farm) -> None:
    task = farm.submit("model", title="First", project="described", tags=["a", "b"], notes="See.")
    assert (task.info.title, task.info.project, task.info.tags) == (
        "First",
        "described",
        ["a", "b"],
    )
    task.stop()
    task.update(title="Renamed", notes=None)
    assert task.tag("c", "a") == ["a", "b", "c"]
    assert task.untag("b") == ["a", "c"]
    found = farm.task(task.id[:8]).info
    assert (found.title, found.notes, found.tags) == ("Renamed", None, ["a", "c"])
    with pytest.raises(InvalidRequest, match="tags"):
        task.update(tags=["two words"])


def test_tasks_are_found_by_what_they_are_and_what_they_reached(
    farm: aifarm.Farm, agent: ScriptedAgent
) -> None:
    made = []
    for rate, loss in ((0.1, 0.5), (0.01, 0.1), (0.001, 0.9)):
        made.append(farm.submit("model", learning_rate=rate, project="found", tags=[f"r{rate}"]))
        agent.take()
        agent.running()
        agent.progress(50.0, 1, loss=loss)
        agent.end()
    high, middle, low = made

    def of_project(**wanted: object) -> list[aifarm.Task]:
        return list(farm.tasks(project="found", **wanted))  # type: ignore[arg-type]

    assert of_project() == [low, middle, high]
    assert of_project(tags="r0.1") == [high]
    assert of_project(where="config.learning_rate<0.05") == [low, middle]
    assert of_project(where=["config.learning_rate<0.05", "metrics.loss.min<0.5"]) == [middle]
    assert of_project(sort="metrics.loss.min") == [middle, high, low]
    assert of_project(status=["running", "failed"]) == []
    assert of_project(status=["completed"], limit=1) == [low]
    frame = farm.tasks(project="found", summaries="loss").to_dataframe()
    assert list(frame["metrics.loss.min"]) == [0.9, 0.1, 0.5]
    with pytest.raises(InvalidRequest, match="condition"):
        of_project(where="nonsense")


def test_a_long_list_is_walked_page_by_page(
    farm: aifarm.Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aifarm.wire.query.MAX_LIMIT", 3)
    made = [farm.submit("model", project="walked", n_clients=2) for _ in range(7)]
    assert list(farm.tasks(project="walked", limit=None)) == made[::-1]
    assert len(farm.tasks(project="walked", limit=5)) == 5


def test_an_ambiguous_prefix_names_who_is_meant(farm: aifarm.Farm) -> None:
    made = [farm.submit("model", title=f"Number {number}") for number in range(17)]
    firsts = [task.id[0] for task in made]
    double = next(first for first in firsts if firsts.count(first) > 1)
    with pytest.raises(InvalidRequest, match=r"begin with .*Number \d+\)"):
        farm.task(double)


def test_the_trash_gives_back_what_was_deleted(farm: aifarm.Farm) -> None:
    task = farm.submit("model")
    task.delete()
    with pytest.raises(NotFound):
        farm.task(task.id)
    assert task in farm.trash()
    farm.task(task.id[:8], deleted=True).restore()
    assert farm.task(task.id) == task
    with pytest.raises(NotFound):
        task.restore()


def test_many_are_changed_at_once_and_each_says_what_became_of_it(farm: aifarm.Farm) -> None:
    tasks = [farm.submit("model") for _ in range(3)]
    tasks[0].stop()
    results = farm.bulk("pause", [*tasks, "no-such-task"], reason="lunch")
    assert [result.error is None for result in results] == [False, True, True, False]
    assert [task.refresh().desired for task in tasks] == ["stopped", "paused", "paused"]
    farm.bulk("stop", tasks)


def test_all_that_match_are_changed_at_once(farm: aifarm.Farm) -> None:
    going, over = (farm.submit("model", project="many", tags=["x"]) for _ in range(2))
    other = farm.submit("model", project="others")
    over.stop()
    results = farm.bulk("stop", matching={"project": "many", "tags": "x", "status": "pending"})
    assert [result.id for result in results] == [going.id]
    assert [task.refresh().status for task in (going, other)] == ["stopped", "pending"]
    farm.bulk("tag", matching={"project": "many"}, tags=["y"])
    assert {task.id for task in farm.tasks(tags="y")} == {going.id, over.id}
    for wrong in ({}, {"status": "dancing"}):
        with pytest.raises(InvalidRequest):
            farm.bulk("stop", matching=wrong)  # type: ignore[arg-type]


def test_lists_are_walked_to_their_end(
    shared_server: RunningServer, farm: aifarm.Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("walk-a", "walk-b", "walk-c"):
        farm.publish(MODEL, name=name, version="1.0")
        shared_server.token("viewer", name)
        with ScriptedAgent(shared_server, name):
            pass
    monkeypatch.setattr(query, "MAX_LIMIT", 2)
    walked = {"walk-a", "walk-b", "walk-c"}
    assert walked <= {client.id for client in farm.clients()}
    assert walked <= {package.name for package in farm.packages()}
    assert walked <= {token.name for token in farm.tokens()}
    assert [package.name for package in farm.packages("walk-b")] == ["walk-b"]


def test_a_repeated_task_goes_on_from_a_checkpoint_of_choice(
    shared_server: RunningServer, farm: aifarm.Farm
) -> None:
    first = farm.submit("model", title="Again")
    with pytest.raises(Conflict):
        first.retry()
    with ScriptedAgent(shared_server, next(names)) as agent:
        agent.take()
        agent.running()
        agent.checkpoint(b"early", step=1, best=True)
        agent.checkpoint(b"late", step=2)
        agent.end()
    late, early = first.checkpoints()
    assert (late.best, early.best) == (False, True)
    assert first.retry("best").info.from_checkpoint == early.id
    best = farm.submit("model", from_checkpoint=f"{first.id}:best")
    assert best.info.from_checkpoint == early.id
    with pytest.raises(Conflict, match="no best checkpoint"):
        farm.submit("model", from_checkpoint=f"{best.id}:best")
    again = first.retry()
    assert (again.parent, again.info.from_checkpoint) == (first.id, late.id)
    assert first.retry(early.id).info.from_checkpoint == early.id
    assert first.retry(None).info.from_checkpoint is None
    fork = farm.submit("model", from_checkpoint=early.id, epochs=9)
    fork.stop()
    likewise = fork.reproduce()
    assert (likewise.parent, likewise.info.from_checkpoint) == (fork.id, early.id)
    assert (fork.parent, fork.config["epochs"]) == (first.id, 9)
    early.pin()
    assert [one.pinned for one in first.checkpoints()] == [False, True]
    with pytest.raises(Conflict):
        early.delete()
    early.unpin()
    farm.bulk("stop", [again, likewise, best, *farm.tasks(parent=first.id)])
    early.delete()
    assert [one.id for one in first.checkpoints()] == [late.id]


def test_packages_are_listed_and_deleted_when_nobody_needs_them(farm: aifarm.Farm) -> None:
    made = farm.publish(MODEL, name="passing", version="1")
    task = farm.submit(package=made)
    with pytest.raises(Conflict):
        farm.delete_package("passing", "1")
    task.stop()
    farm.delete_package("passing", "1")
    assert farm.packages("passing") == []


def test_thirty_watched_tasks_share_one_connection_and_are_not_throttled(
    shared_server: RunningServer, farm: aifarm.Farm, agent: ScriptedAgent
) -> None:
    watched = []
    for _ in range(30):
        task = farm.submit("model", min_cpu_cores=4)
        watched.append(task.watch())
        assert next(watched[-1]).id == task.id
    sockets = [one for one in psutil.Process().net_connections() if one.raddr]
    ours = [one for one in sockets if one.raddr.port == shared_server.port]
    # Calls, the live feed, the scripted agent's two, and what earlier tests left to be collected.
    assert len(ours) < 10
    agent.take()
    agent.running()
    changed = next(info for watching in watched[:1] for info in watching if info.clients)
    assert changed.clients == [agent.name]
    agent.end()
    for watching in watched:
        watching.close()


def test_a_token_says_whose_it_is(shared_server: RunningServer) -> None:
    token = shared_server.token("researcher", "ada")
    with aifarm.connect(shared_server.url, token) as hers:
        own = hers.my_token()
    assert (own.name, own.role) == ("ada", "researcher")


# ---------------------------------------------------------------- clients, reasons, output


def test_a_drained_client_gets_nothing_until_it_is_taken_back(
    farm: aifarm.Farm, agent: ScriptedAgent
) -> None:
    client = farm.client(agent.name)
    client.drain("a new GPU")
    assert client.drained is not None
    assert "a new GPU" in client.drained
    task = farm.submit("model", min_ram=8000)
    reasons = {one.client: one.reason for one in task.why().clients}
    assert agent.name in reasons
    client.undrain()
    assert agent.take().attempt == 1
    agent.end()
    assert client.refresh().performance.completed_tasks == 1
    assert any("a new GPU" in event.message for event in client.events())
    assert client.history().client == agent.name
    with pytest.raises(Conflict):
        client.forget()


def test_a_check_says_where_a_task_would_run_and_stores_nothing(
    farm: aifarm.Farm, agent: ScriptedAgent
) -> None:
    before = len(farm.tasks(limit=None))
    found = farm.check("model", min_ram=4000)
    assert found.would_start
    assert agent.name in found.fits
    misses = {one.client: one for one in farm.check("model", min_ram=10**6).misses}
    assert misses[agent.name].never
    with pytest.raises(InvalidRequest, match="epochs"):
        farm.check("model", epochs=0)
    assert len(farm.tasks(limit=None)) == before


def test_what_is_not_published_yet_can_be_checked_for_its_machines(
    farm: aifarm.Farm, agent: ScriptedAgent
) -> None:
    found = farm.check("still-in-a-notebook", unpublished=True, min_ram=4000)
    assert agent.name in found.fits
    misses = {one.client: one for one in farm.check("model", min_ram=10**6).misses}
    assert misses[agent.name].never
    with pytest.raises(NotFound, match="still-in-a-notebook"):
        farm.check("still-in-a-notebook")


def test_a_package_tells_what_it_declares_by_default_the_latest(farm: aifarm.Farm) -> None:
    farm.publish(MODEL, name="declaring", defaults={"width": 1}, version="1")
    farm.publish(MODEL, name="declaring", defaults={"width": 2}, version="2")
    manifest = farm.package("declaring").manifest
    assert isinstance(manifest, dict)
    assert manifest["defaults"] == {"width": 2}
    assert farm.package("declaring", "1").version == "1"


def test_what_is_refused_before_it_is_sent_names_its_field_too(farm: aifarm.Farm) -> None:
    with pytest.raises(InvalidRequest) as refused:
        farm.submit("model", epochs=0)
    assert refused.value.details["field"] == "epochs"


def test_every_point_is_written_as_csv_and_the_end_of_a_log_read(
    farm: aifarm.Farm, agent: ScriptedAgent
) -> None:
    task = farm.submit("model")
    agent.take()
    agent.running()
    agent.progress(50.0, 1, loss=0.5)
    agent.progress(60.0, 2, loss=0.25)
    agent.log("one", "two", "three")
    file = io.BytesIO()
    task.metrics_csv(file, "loss")
    header, *rows = file.getvalue().decode().splitlines()
    assert header == "name,step,time,value"
    assert [row.split(",")[1] for row in rows] == ["1", "2"]
    assert list(task.logs(tail=2)) == ["two", "three"]
    following = task.logs(tail=1, follow=True)
    assert next(following) == "three"
    agent.log("four")
    assert next(following) == "four"
    agent.end()
    assert list(following) == []
