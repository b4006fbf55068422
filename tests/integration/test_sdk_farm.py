"""The SDK against a real server; the workstations do what the test says."""

import io
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import aifarm
from aifarm.sdk import (
    Conflict,
    FarmUnreachable,
    Forbidden,
    InvalidRequest,
    NotFound,
    TaskFailed,
    Unauthorized,
    WaitTimeout,
)
from integration.running import RunningServer
from integration.scripted import ScriptedAgent

MODEL = "def build_model(cfg): ...\ndef build_data(cfg): ...\n"


@pytest.fixture
def farm(shared_server: RunningServer) -> Iterator[aifarm.Farm]:
    """A farm whose queue is empty again afterwards; what ended stays in its lists."""
    with aifarm.connect(shared_server.url, shared_server.admin_token) as connected:
        yield connected
        for task in connected.tasks(status="pending"):
            task.stop()


names = (f"ws{number}" for number in count(1))


@pytest.fixture
def agent(shared_server: RunningServer) -> Iterator[ScriptedAgent]:
    with ScriptedAgent(shared_server, next(names)) as scripted:
        yield scripted


@pytest.fixture
def task(farm: aifarm.Farm) -> aifarm.Task:
    return submitted(farm)


def submitted(farm: aifarm.Farm, **more: Any) -> aifarm.Task:
    package = farm.publish(MODEL, name="model", version="1.0")
    return farm.submit(package=package, epochs=2, config={"hidden": 64}, **more)


class Aside:
    """Runs a function in a thread; leaving the block waits for it and raises what it raised."""

    def __init__(self, function: object) -> None:
        self._function = function
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._function()  # type: ignore[operator]
        except BaseException as error:
            self._error = error

    def __enter__(self) -> "Aside":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self._error:
            raise self._error


# ---------------------------------------------------------------- packages


def test_a_folder_a_file_and_its_text_are_published(farm: aifarm.Farm, tmp_path: Path) -> None:
    folder = tmp_path / "my_model"
    folder.mkdir()
    (folder / "model.py").write_text(MODEL)
    by_folder = farm.publish(folder, version="1")
    by_file = farm.publish(folder / "model.py", version="1")
    by_text = farm.publish(MODEL, name="text", version="1")
    assert [by_folder.name, by_file.name, by_text.name] == ["my_model", "model", "text"]
    assert {"my_model", "model", "text"} <= {package.name for package in farm.packages()}
    assert farm.packages("text") == [by_text]


def test_without_a_version_the_content_is_the_version(farm: aifarm.Farm) -> None:
    first = farm.publish(MODEL, name="hashed")
    assert farm.publish(MODEL, name="hashed") == first
    assert farm.publish(MODEL + "# changed\n", name="hashed").version != first.version


def test_a_published_version_does_not_change(farm: aifarm.Farm) -> None:
    farm.publish(MODEL, name="fixed", version="1")
    farm.publish(MODEL, name="fixed", version="1")
    with pytest.raises(Conflict):
        farm.publish(MODEL + "# changed\n", name="fixed", version="1")


@pytest.mark.parametrize(
    ("code", "name", "told"),
    [
        ("/no/such/folder", None, "give a folder"),
        (MODEL, None, "package's name"),
        (MODEL, "no spaces please", "letters"),
    ],
)
def test_what_is_no_package_is_refused_here(
    farm: aifarm.Farm, code: str, name: str | None, told: str
) -> None:
    with pytest.raises(InvalidRequest, match=told):
        farm.publish(code, name=name)


# ---------------------------------------------------------------- submitting


def test_submit_names_the_latest_version_and_carries_all_it_was_given(farm: aifarm.Farm) -> None:
    farm.publish(MODEL, name="latest", version="1.0")
    newest = farm.publish(MODEL + "# newer\n", name="latest", version="0.9")
    info = farm.submit(
        "latest",
        batch_size=32,
        learning_rate=0.5,
        epochs=3,
        n_clients=3,
        requirements={"min_ram": 2},
        min_gpu_memory=100,
        config={"hidden": 64},
        priority=5,
        max_retries=2,
    ).info
    assert (info.version, info.package_sha256) == ("0.9", newest.sha256)
    assert info.config == {"hidden": 64, "batch_size": 32, "learning_rate": 0.5, "epochs": 3}
    assert (info.distributed, info.n_clients, info.priority, info.max_retries) == (True, 3, 5, 2)
    assert (info.requirements.min_ram, info.requirements.min_gpu_memory) == (2, 100)


def test_what_cannot_be_trained_is_told_at_once(farm: aifarm.Farm) -> None:
    with pytest.raises(NotFound, match="publish"):
        farm.submit("unheard-of")
    package = farm.publish(MODEL, name="model", version="1.0")
    before = len(farm.tasks())
    with pytest.raises(NotFound):
        farm.submit("model", version="7")
    with pytest.raises(InvalidRequest, match="epochs"):
        farm.submit(package=package, epochs=0)
    with pytest.raises(InvalidRequest, match="min_gpus"):
        farm.submit(package=package, requirements={"min_gpus": 1})
    with pytest.raises(InvalidRequest, match="distributed"):
        farm.submit(package=package, n_clients=3, distributed=False)
    assert len(farm.tasks()) == before


def test_a_task_is_found_by_the_start_of_its_id(farm: aifarm.Farm, task: aifarm.Task) -> None:
    assert farm.task(task.id[:8]) == task
    assert farm.task(task.id) == task
    with pytest.raises(NotFound):
        farm.task("no-such-task")
    with pytest.raises(InvalidRequest):
        farm.task("")


def test_tasks_are_listed_newest_first_and_by_status(farm: aifarm.Farm, task: aifarm.Task) -> None:
    second = submitted(farm)
    second.stop()
    assert farm.tasks()[:2] == [second, task]
    assert farm.tasks(status="pending") == [task]
    assert farm.tasks(submitter="nobody") == []
    assert farm.tasks(limit=1) == [second]


# ---------------------------------------------------------------- waiting and watching


def test_wait_returns_when_the_task_completes(
    farm: aifarm.Farm, task: aifarm.Task, agent: ScriptedAgent
) -> None:
    def train() -> None:
        agent.take()
        agent.running()
        agent.progress(50.0, 1, loss=0.5)
        agent.end(metrics={"final_loss": 0.1})

    with Aside(train):
        assert task.wait(timeout=60) is task
    assert (task.status, task.progress, task.done) == ("completed", 100.0, True)
    assert task.metrics_latest["final_loss"] == 0.1
    assert task.wait(timeout=0) is task


def test_wait_raises_what_the_task_failed_of(
    farm: aifarm.Farm, task: aifarm.Task, agent: ScriptedAgent
) -> None:
    agent.take()
    agent.running()
    words = "the model's forward fails: shapes do not match"
    agent.end("failed", cause="user_error", message=words)
    with pytest.raises(TaskFailed, match="shapes do not match") as raised:
        task.wait(timeout=60)
    assert raised.value.cause == "user_error"
    assert raised.value.task is task


def test_wait_ends_at_its_timeout_and_the_task_goes_on(task: aifarm.Task) -> None:
    with pytest.raises(WaitTimeout, match=task.id):
        task.wait(timeout=0.2)
    with pytest.raises(TimeoutError):
        task.wait(timeout=0)
    assert task.status == "pending"


def test_wait_tells_when_the_task_is_deleted(
    shared_server: RunningServer, task: aifarm.Task
) -> None:
    watching = task.watch()
    next(watching)
    assert shared_server.http().delete(f"/api/v2/tasks/{task.id}").status_code == 204
    with pytest.raises(NotFound):
        list(watching)


def test_watching_outlives_a_kill_of_the_server(server: RunningServer) -> None:
    with aifarm.connect(server.url, server.admin_token) as farm:
        task = submitted(farm)
        watching = task.watch()
        assert next(watching).status == "pending"
        server.kill()
        server.start()
        farm.task(task.id).stop()
        assert [info.status for info in watching][-1] == "stopped"


def test_what_ended_before_a_restart_is_known_to_who_waited(server: RunningServer) -> None:
    with aifarm.connect(server.url, server.admin_token) as farm:
        task = submitted(farm)
        farm.task(task.id).stop()
        server.kill()
        server.start()
        assert task.wait(timeout=60).status == "stopped"


def test_watching_several_shows_each_to_its_end(
    farm: aifarm.Farm, task: aifarm.Task, agent: ScriptedAgent
) -> None:
    second = submitted(farm, min_cpu_cores=4)  # not beside the first
    seen: dict[str, list[str]] = {task.id: [], second.id: []}

    def train() -> None:
        for _ in range(2):
            agent.take()
            agent.running()
            agent.end()

    with Aside(train):
        for changed in farm.watch(task, second):
            seen[changed.id].append(changed.info.status)
    assert seen[task.id][-1] == seen[second.id][-1] == "completed"


# ---------------------------------------------------------------- steering


def test_pause_resume_and_stop_say_what_is_desired_and_what_is_so(
    task: aifarm.Task, agent: ScriptedAgent
) -> None:
    agent.take()
    agent.running()
    told = task.pause("lunch")
    assert (told.desired, told.observed) == ("paused", "running")
    agent.paused()
    assert task.status == "paused"
    assert task.resume().desired == "running"
    agent.running()
    assert task.stop(reason="enough").desired == "stopped"
    agent.end("stopped", cause="stopped")
    assert task.wait(timeout=60).status == "stopped"
    assert any("lunch" in event.message for event in task.events())
    with pytest.raises(Conflict):
        task.pause()


def test_a_waiting_task_says_why(server: RunningServer) -> None:
    with aifarm.connect(server.url, server.admin_token) as farm:
        assert "No client has ever connected" in submitted(farm).why().summary


def test_a_waiting_task_says_what_each_client_misses(
    farm: aifarm.Farm, agent: ScriptedAgent
) -> None:
    task = submitted(farm, min_gpu_memory=100_000)
    missing = {one.client: one.reason for one in task.why().clients}
    assert "GPU" in missing[agent.name]


# ---------------------------------------------------------------- what a task leaves


def test_metrics_come_as_columns(task: aifarm.Task, agent: ScriptedAgent) -> None:
    agent.take()
    agent.running()
    agent.progress(10.0, 1, loss=0.5, accuracy=0.1)
    agent.progress(20.0, 2, loss=0.25, accuracy=0.2)
    columns = task.metrics()
    assert columns["loss"]["step"] == [1, 2]
    assert columns["loss"]["value"] == [0.5, 0.25]
    assert task.metrics(steps=(2, None))["loss"]["step"] == [2]
    assert task.metrics("loss", steps=(0, 1)) == task.metrics("loss", steps=(1, 1))
    assert task.metrics("loss", steps=(3, 9))["loss"]["step"] == []
    assert set(task.metrics("loss")) == {"loss"}
    assert set(task.metrics(["accuracy", "loss"], points=None)) == {"loss", "accuracy"}
    assert task.metrics_latest == {"loss": 0.25, "accuracy": 0.2}
    assert task.progress == 20.0


def test_logs_are_read_to_their_end_over_many_pages(
    task: aifarm.Task, agent: ScriptedAgent
) -> None:
    agent.take()
    agent.running()
    lines = [f"line {number}" for number in range(2500)]
    for start in range(0, 2500, 500):
        agent.log(*lines[start : start + 500])
    assert list(task.logs()) == lines
    assert list(task.logs(rank=1)) == []


def test_followed_logs_come_live_and_end_with_the_task(
    task: aifarm.Task, agent: ScriptedAgent
) -> None:
    following = task.logs(follow=True)
    agent.take()
    agent.running()
    agent.log("one", "two")
    assert [next(following), next(following)] == ["one", "two"]
    agent.log("three")
    assert next(following) == "three"
    agent.log("last")
    agent.end()
    assert list(following) == ["last"]


def test_a_line_that_has_not_ended_is_told_while_a_log_is_followed(
    task: aifarm.Task, agent: ScriptedAgent
) -> None:
    told: list[str] = []
    following = task.logs(follow=True, unfinished=told.append)
    agent.take()
    agent.running()
    agent.log("before anybody listens")
    next(following)
    agent.log("one", unfinished="10 %")
    assert next(following) == "one"
    agent.log("two")
    assert next(following) == "two"
    assert told[-1:] == ["10 %"]


def test_followed_logs_go_on_with_the_next_attempt(farm: aifarm.Farm, agent: ScriptedAgent) -> None:
    task = submitted(farm, max_retries=1)
    following = task.logs(follow=True)
    agent.take()
    agent.running()
    agent.log("first try")
    assert next(following) == "first try"
    agent.log("it breaks")
    agent.end("failed", cause="user_error", message="broken")
    assert agent.take().attempt == 2
    agent.running()
    agent.log("second try")
    agent.end()
    assert list(following) == ["it breaks", "second try"]
    assert list(task.logs(attempt=1)) == ["first try", "it breaks"]
    assert list(task.logs(attempt=1, follow=True)) == ["first try", "it breaks"]
    assert [attempt.attempt for attempt in task.attempts()] == [1, 2]


def test_a_checkpoint_comes_back_as_it_was_and_its_weights_load(
    task: aifarm.Task, agent: ScriptedAgent, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(NotFound, match="no checkpoint"):
        task.checkpoint()
    agent.take()
    agent.running()
    weights = {"weight": torch.arange(6.0).reshape(2, 3)}
    saved = io.BytesIO()
    torch.save({"model": weights, "step": 3}, saved)
    agent.checkpoint(b"an earlier one", step=1)
    agent.checkpoint(saved.getvalue(), step=3, epoch=1, progress=50.0, metrics={"loss": 0.5})
    checkpoint = task.checkpoint()
    assert (checkpoint.step, checkpoint.epoch, checkpoint.metrics) == (3, 1, {"loss": 0.5})
    assert task.checkpoint(checkpoint.id).info == checkpoint.info
    with pytest.raises(NotFound, match="no best checkpoint"):
        task.checkpoint("best")
    with pytest.raises(NotFound, match="no checkpoint nonsense"):
        task.checkpoint("nonsense")
    path = checkpoint.download(tmp_path)
    assert path.read_bytes() == saved.getvalue()
    assert torch.equal(task.state_dict()["weight"], weights["weight"])
    assert torch.equal(checkpoint.state_dict()["weight"], weights["weight"])
    assert [one.step for one in task.checkpoints()] == [3, 1]


def test_the_story_is_told_oldest_first(task: aifarm.Task, agent: ScriptedAgent) -> None:
    agent.take()
    agent.running()
    agent.end()
    kinds = [event.kind for event in task.events()]
    assert kinds[0] == "submitted"
    assert kinds[-1] == "completed"
    assert [event.id for event in task.events()] == sorted(event.id for event in task.events())


# ---------------------------------------------------------------- clients, tokens, and errors


def test_clients_are_listed(farm: aifarm.Farm, agent: ScriptedAgent) -> None:
    client = next(one for one in farm.clients() if one.id == agent.name)
    assert client.status == "active"
    assert client.resources is not None
    assert client.resources.ram.total == 8192


def test_a_token_works_until_it_is_revoked(
    shared_server: RunningServer, farm: aifarm.Farm, task: aifarm.Task
) -> None:
    made = farm.create_token("ada", "researcher", expires=3600)
    assert made.expires_at is not None
    assert "ada" in [token.name for token in farm.tokens()]
    with aifarm.connect(shared_server.url, str(made.token)) as hers:
        mine = hers.submit("model")
        watching = mine.watch()
        assert next(watching).submitter == "ada"
        with pytest.raises(Forbidden):
            hers.tokens()
        farm.revoke_token(made.id)
        with pytest.raises(Unauthorized):
            hers.tasks()
        with pytest.raises(Unauthorized):
            mine.wait(timeout=60)


def test_a_wrong_token_and_a_dead_address_are_told(shared_server: RunningServer) -> None:
    with aifarm.connect(shared_server.url, "wrong") as farm, pytest.raises(Unauthorized):
        farm.tasks()
    with pytest.raises(FarmUnreachable, match=r"127\.0\.0\.1:9"):
        aifarm.connect("http://127.0.0.1:9", "t")


def test_what_answers_but_is_no_farm_is_told(shared_server: RunningServer) -> None:
    with pytest.raises(NotFound):
        aifarm.connect(f"{shared_server.url}/elsewhere", shared_server.admin_token)
