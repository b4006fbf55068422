"""A paused task does not keep its clients for ever, and loses nothing by leaving them."""

import pytest

from aifarm import Farm, Task
from e2e.packages import SLOW


def until_training(task: Task) -> None:
    for update in task.watch():
        if update.metrics:
            return


def until_vacated(task: Task) -> None:
    for update in task.watch():
        if update.status == "paused" and not update.clients:
            return


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_task_on_hold_leaves_its_clients_and_goes_on_where_it_was(
    farm: Farm, world_size: int
) -> None:
    package = farm.publish(SLOW, name="slow")
    task = farm.submit(
        package=package,
        epochs=6,
        batch_size=2,
        config={"seconds": 0.01, "hold_seconds": 0.2},
        distributed=world_size > 1,
        n_clients=world_size,
    )
    until_training(task)
    task.pause()
    until_vacated(task)
    held = task.checkpoint().step
    assert "resume it" in task.why().summary
    task.resume()
    task.wait(timeout=100)
    steps = task.metrics(points=None)["loss"]["step"]
    assert steps == list(range(1, 61))
    assert 0 < held < 60
    resumed = next(one.message for one in task.events() if one.kind == "resumed")
    assert resumed.startswith(f"Resumed at step {held}; the reference loss is the same (")
    assert [attempt.outcome for attempt in task.attempts()] == ["vacated", "completed"]
