"""What dies in the middle of training, and what becomes of the task. SIGKILL throughout."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from aifarm import Farm, Task
from aifarm.local.farm import LocalFarm
from aifarm.wire.live import Happened
from e2e.packages import COUNTING, SLOW

EPOCHS, STEPS = 12, 12 * 10


@pytest.fixture
def task(local: LocalFarm) -> Iterator[Task]:
    """Trains for some seconds, with a checkpoint each second or so."""
    with local.connect() as farm:
        yield submit(farm)


def submit(farm: Farm) -> Task:
    package = farm.publish(SLOW, name="slow")
    return farm.submit(package=package, epochs=EPOCHS, batch_size=2, config={"seconds": 0.06})


def until_checkpoint(task: Task) -> None:
    for _ in task.watch():
        if task.checkpoints():
            return


def kill_tree(pid: int) -> None:
    """An agent, its warm process and its workers: as when the machine loses power."""
    agent = psutil.Process(pid)
    for process in [*agent.children(recursive=True), agent]:
        process.kill()
    psutil.wait_procs([agent], timeout=10)


def story(task: Task) -> str:
    return "\n".join(event.message for event in task.events())


def steps(task: Task) -> list[int]:
    found: list[int] = task.metrics(names=["loss"], points=None)["loss"]["step"]
    return found


@pytest.mark.slow
def test_a_lost_machine_is_replaced_from_the_last_checkpoint(local: LocalFarm, task: Task) -> None:
    until_checkpoint(task)
    (first,) = task.refresh().clients
    kill_tree(local.agents[first].pid)
    task.wait(timeout=90)
    assert task.attempt == 2
    (second,) = task.clients
    assert second != first
    told = story(task)
    assert f"Lost contact with {first}" in told
    assert f"Assigned to {second} (attempt 2)" in told
    assert steps(task) == list(range(1, STEPS + 1))


@pytest.mark.slow
def test_outputs_of_a_lost_machine_are_as_of_the_last_look_at_them(
    local: LocalFarm, tmp_path: Path
) -> None:
    with local.connect() as farm:
        task = farm.submit(
            package=farm.publish(COUNTING, name="counting", kind="script"),
            args=["wait"],
            outputs=["out/**"],
            config={"checkpoint_seconds": 1},
        )
        for message in farm.live(f"task:{task.id}"):
            if isinstance(message, Happened) and message.event.kind == "outputs":
                break
        (first,) = task.refresh().clients
        kill_tree(local.agents[first].pid)
        task.wait(timeout=90)
        task.download_outputs(tmp_path)
        assert (tmp_path / "out" / "count").read_text() == "2"


@pytest.mark.slow
def test_training_goes_on_while_the_server_is_dead(local: LocalFarm, task: Task) -> None:
    until_checkpoint(task)
    acknowledged = steps(task)
    assert local.server is not None
    os.kill(local.server.pid, signal.SIGKILL)
    local.server.wait()
    local.start_server()
    task.wait(timeout=90)
    assert task.attempt == 1
    assert steps(task)[: len(acknowledged)] == acknowledged
    assert steps(task) == list(range(1, STEPS + 1))


@pytest.mark.slow
def test_a_restarted_agent_takes_up_its_workers(local: LocalFarm, task: Task) -> None:
    until_checkpoint(task)
    (name,) = task.refresh().clients
    agent = local.agents[name]
    os.kill(agent.pid, signal.SIGKILL)
    agent.wait()
    local.start_agent(name, local.data_dir / "agent-token")
    task.wait(timeout=90)
    assert task.attempt == 1
    assert steps(task) == list(range(1, STEPS + 1))


@pytest.mark.slow
def test_a_gang_that_loses_a_rank_starts_again_together(local: LocalFarm) -> None:
    with local.connect() as farm:
        package = farm.publish(SLOW, name="slow")
        task = farm.submit(
            package=package,
            epochs=EPOCHS,
            batch_size=2,
            config={"seconds": 0.06},
            distributed=True,
            n_clients=2,
        )
        until_checkpoint(task)
        lost = task.refresh().clients[1]
        kill_tree(local.agents[lost].pid)
        local.agents[lost].wait()
        local.start_agent(lost, local.data_dir / "agent-token")
        task.wait(timeout=100)
        assert task.attempt == 2
        assert steps(task) == list(range(1, STEPS + 1))


@pytest.mark.slow
def test_a_killed_worker_is_told_and_costs_a_retry(local: LocalFarm) -> None:
    with local.connect() as farm:
        package = farm.publish(SLOW, name="slow")
        task = farm.submit(
            package=package,
            epochs=EPOCHS,
            batch_size=2,
            config={"seconds": 0.06},
            max_retries=1,
        )
        until_checkpoint(task)
        pid = worker_of(local, task.refresh().clients[0])
        os.kill(pid, signal.SIGKILL)
        task.wait(timeout=90)
        assert task.attempt == 2
        assert "SIGKILL" in story(task)


def worker_of(local: LocalFarm, name: str) -> int:
    """The process that trains on this client: the warm process's child."""
    agent = psutil.Process(local.agents[name].pid)
    warm = [p for p in psutil.process_iter() if "aifarm.train.zygote" in " ".join(_command(p))]
    own = [p for p in warm if str(local.data_dir) in " ".join(_command(p)) or p.ppid() == agent.pid]
    workers = [child for p in own for child in p.children()]
    assert workers
    return workers[0].pid


def _command(process: psutil.Process) -> list[str]:
    try:
        command: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return command


@pytest.mark.slow
def test_an_agent_that_is_ended_gives_its_task_to_another(local: LocalFarm, task: Task) -> None:
    until_checkpoint(task)
    (first,) = task.refresh().clients
    os.kill(local.agents[first].pid, signal.SIGINT)
    task.wait(timeout=90)
    assert task.attempt == 2
    assert task.clients != [first]
    assert f"{first} gave the task back" in story(task)
    assert steps(task) == list(range(1, STEPS + 1))


def test_nothing_is_left_running_when_a_farm_ends(local: LocalFarm, task: Task) -> None:
    until_checkpoint(task)
    (name,) = task.refresh().clients
    pid = worker_of(local, name)
    local.stop()
    assert not psutil.pid_exists(pid)
    mine = [p for p in psutil.process_iter() if str(local.data_dir) in " ".join(_command(p))]
    assert not mine
