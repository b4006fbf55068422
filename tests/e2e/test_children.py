"""A task that goes on from another's checkpoint, on a real workstation."""

import aifarm
from aifarm import Farm
from aifarm.sdk import calls
from aifarm.wire.requests import CreateTask
from e2e.packages import SLOW

NEEDS_KEY = f'import os\n\nassert os.environ["API_KEY"] == "s3cret"\n{SLOW}'


def test_a_child_goes_on_from_its_parents_checkpoint_in_its_own_environment(farm: Farm) -> None:
    farm.publish(NEEDS_KEY, name="child", version="1")

    def run(epochs: int, **more: object) -> aifarm.Task:
        body = CreateTask(
            name="child",
            version="1",
            epochs=epochs,
            batch_size=2,
            config={"seconds": 0},
            env={"API_KEY": "s3cret", "CUDA_VISIBLE_DEVICES": "7"},
            **more,  # type: ignore[arg-type]
        )
        task = farm.task(farm._http.send(calls.create_task(body, f"{epochs}")).id)
        task.wait(timeout=60)
        return task

    parent = run(1)
    child = run(3, from_checkpoint=parent.id)
    before = parent.metrics(points=None)["loss"]["step"]
    after = child.metrics(points=None)["loss"]["step"]
    assert after == list(range(before[-1] + 1, 3 * len(before) + 1))
    assert child.refresh().parent == parent.id
