"""What only a real GPU can show: CUDA, NCCL, the driver's accounting, and memory really freed."""

from collections.abc import Callable

import pytest

from aifarm import Farm
from aifarm.sdk import Task
from gpu.conftest import GPUS, Nvml

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(300)]

MIB = 2048
"""What the model below keeps on its GPU, beside CUDA's own."""

MODEL = """
import os

import torch
from torch import nn
from torch.utils.data import TensorDataset


class Net(nn.Module):
    def __init__(self, mib):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
        self.register_buffer("ballast", torch.zeros(mib << 18), persistent=False)

    def forward(self, x):
        return self.layers(x)


def build_model(cfg):
    print("visible:", os.environ["CUDA_VISIBLE_DEVICES"], torch.cuda.device_count())
    return Net(cfg["mib"])


def build_data(cfg):
    torch.manual_seed(0)
    return TensorDataset(torch.randn(4096, 64), torch.randint(0, 10, (4096,)))
"""

Submit = Callable[..., Task]


@pytest.fixture(scope="module")
def submit(farm: Farm) -> Submit:
    package = farm.publish(MODEL, name="net", defaults={"mib": 64})

    def submit(epochs: int = 2, **options: object) -> Task:
        config = {"seed": 1, **options.pop("config", {})}  # type: ignore[dict-item]
        return farm.submit(
            package=package,
            epochs=epochs,
            batch_size=64,
            min_gpu_memory=1024,
            config=config,
            **options,  # type: ignore[arg-type]
        )

    return submit


def uuids(farm: Farm) -> list[str]:
    (client,) = farm.clients()
    assert client.info.resources is not None
    return [gpu.uuid or "" for gpu in client.info.resources.gpu]


def until(task: Task, status: str) -> None:
    for seen in task.watch():
        if seen.status == status and (status != "running" or seen.progress):
            return
    raise AssertionError(f"it ended: {task.info.message}")


def test_the_farm_knows_the_gpus_as_the_driver_does(farm: Farm, nvml: Nvml) -> None:
    (client,) = farm.clients()
    assert client.info.resources is not None
    gpus = client.info.resources.gpu
    assert len(gpus) == GPUS
    for gpu in gpus:
        assert gpu.uuid
        assert gpu.memory.total > 1024
        assert gpu.temperature is not None
        assert gpu.utilization is not None
        assert gpu.memory.used <= gpu.memory.total


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_model_learns_on_a_gpu_in_each_precision(submit: Submit, precision: str) -> None:
    task = submit(epochs=8, config={"precision": precision}).wait(timeout=200)
    assert task.status == "completed", task.info.message
    losses = task.metrics(names=["loss"], points=None)["loss"]["value"]
    assert losses[-1] < losses[0]
    (attempt,) = task.attempts()
    assert "cuda" in str(attempt.provenance["0"]).lower()


def test_a_worker_sees_its_own_gpu_by_uuid_and_no_other(farm: Farm, submit: Submit) -> None:
    task = submit().wait(timeout=200)
    (seen,) = [line for line in task.logs() if line.startswith("visible: ")]
    _, uuid, count = seen.split()
    assert uuid in uuids(farm)
    assert count == "1"


def test_a_held_task_keeps_its_memory_and_a_vacated_one_frees_it(
    farm: Farm, submit: Submit, nvml: Nvml
) -> None:
    (uuid, *_) = uuids(farm)
    before = nvml.used(uuid)

    held = submit(epochs=100_000, config={"mib": MIB})
    until(held, "running")
    held.pause()
    until(held, "paused")
    assert nvml.used(uuid) - before >= MIB
    held.stop()
    held.wait(timeout=60)

    vacated = submit(epochs=100_000, config={"mib": MIB, "hold_seconds": 0})
    until(vacated, "running")
    vacated.pause()
    for seen in vacated.watch():
        if seen.status == "paused" and not seen.clients:
            break
    assert nvml.used(uuid) - before < MIB / 4
    vacated.resume()
    until(vacated, "running")
    assert vacated.info.attempt == 2
    vacated.stop()
    vacated.wait(timeout=60)


def test_a_resumed_run_ends_in_the_same_weights_as_an_uninterrupted_one(submit: Submit) -> None:
    import torch

    whole = submit(epochs=6, config={"seed": 3}).wait(timeout=200)
    parted = submit(epochs=6, config={"seed": 3, "hold_seconds": 0})
    until(parted, "running")
    parted.pause()
    for seen in parted.watch():
        if seen.status in ("paused", "completed") and not seen.clients:
            break
    parted.resume()
    parted.wait(timeout=200)
    ours, theirs = parted.state_dict(), whole.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.gpus(2)
def test_ranks_on_several_gpus_meet_over_nccl(submit: Submit) -> None:
    task = submit(epochs=4, distributed=True, processes_per_client=2).wait(timeout=200)
    assert task.status == "completed", task.info.message
    (attempt,) = task.attempts()
    assert len(attempt.ranks) == 2
