"""From a script to trained weights: the whole farm, as a researcher uses it."""

from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import aifarm
from aifarm import Farm
from aifarm.local.farm import LocalFarm
from e2e.packages import (
    COUNTING,
    NO_FORWARD,
    NO_IMPORT,
    NOTHING_BUILT,
    ONE_RANK_FAILS,
    SLOW,
    STORED,
)

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


def load_model(state: dict[str, torch.Tensor]) -> nn.Module:
    namespace: dict[str, object] = {}
    exec((DIGITS / "model.py").read_text(), namespace)
    model = namespace["build_model"]({})
    assert isinstance(model, nn.Module)
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize("world_size", [1, 3])
def test_a_model_is_trained_and_its_weights_load(
    farm: Farm, world_size: int, tmp_path: Path
) -> None:
    package = farm.publish(DIGITS, name="digits")
    task = farm.submit(
        package=package,
        epochs=12,
        batch_size=32,
        learning_rate=0.003,
        distributed=world_size > 1,
        n_clients=world_size,
    )
    task.wait(timeout=100)
    assert task.metrics_latest["final_accuracy"] >= 0.95
    assert len(set(task.clients)) == world_size
    state = task.state_dict()
    assert load_model(state)
    (weights,) = task.download_outputs(tmp_path)
    assert weights.name == "weights.safetensors"
    exported = load_file(weights)
    assert exported.keys() == state.keys()
    assert all(torch.equal(exported[name], tensor) for name, tensor in state.items())
    history = task.metrics(names=["loss"], points=None)
    steps = history["loss"]["step"]
    assert steps == list(range(1, len(steps) + 1))
    provenance = task.attempts()[0].provenance
    assert provenance["0"]["torch"] == torch.__version__
    assert len(provenance) == world_size


def test_what_a_killed_attempt_kept_is_there_for_the_next(
    farm: Farm, calm: LocalFarm, tmp_path: Path
) -> None:
    package = farm.publish(COUNTING, name="counting", kind="script")
    task = farm.submit(package=package, outputs=["out"], max_retries=1).wait(timeout=100)
    assert task.attempt == 2
    assert list(task.logs()) == ["began with 1"]
    task.download_outputs(tmp_path)
    kept = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert kept == {"count": "2", "attempt-1": "began", "attempt-2": "began"}
    left = list(calm.data_dir.glob(f"**/kept/{task.id}.*.0/undeclared"))
    assert len(left) == 2  # on the clients where it ran


@pytest.mark.slow
def test_two_ranks_on_each_of_two_clients_train_one_model(farm: Farm) -> None:
    package = farm.publish(DIGITS, name="digits")
    task = farm.submit(package=package, epochs=2, n_clients=2, processes_per_client=2)
    task.wait(timeout=200)
    assert task.clients[0] == task.clients[1] != task.clients[2] == task.clients[3]
    provenance = task.attempts()[0].provenance
    assert len(provenance) == 4
    assert load_model(task.state_dict())


def test_pause_and_resume_act_on_the_training_loop(farm: Farm) -> None:
    package = farm.publish(SLOW, name="slow")
    config = {"seconds": 0.005}
    task = farm.submit(package=package, epochs=200, batch_size=2, config=config)
    until_running(task)
    assert task.pause().observed == "paused"
    first = task.metrics(points=None)["loss"]["step"][-1]
    with pytest.raises(TimeoutError):
        task.wait(timeout=1.0)
    assert task.metrics(points=None)["loss"]["step"][-1] <= first + 1
    assert task.resume().observed == "running"
    for update in task.watch():
        if update.progress > 100.0 * (first + 20) / 2000:
            break
    assert task.stop(reason="seen enough").observed == "stopped"
    assert task.checkpoint().step > first


def until_running(task: aifarm.Task) -> None:
    for update in task.watch():
        if update.status == "running" and update.metrics:
            return


@pytest.mark.parametrize(
    ("source", "cause", "words"),
    [
        (NO_IMPORT, "package_invalid", "No module named 'a_library_that_is_not_there'"),
        (NOTHING_BUILT, "package_invalid", "build_model"),
        (NO_FORWARD, "user_error", "the forward pass failed"),
    ],
)
def test_bad_code_ends_in_one_clear_sentence(
    farm: Farm, source: str, cause: str, words: str
) -> None:
    task = farm.submit(package=farm.publish(source, name="bad"), epochs=1, batch_size=4)
    with pytest.raises(aifarm.TaskFailed, match=words) as failed:
        task.wait(timeout=60)
    assert task.refresh().cause == cause
    assert "Traceback" not in str(failed.value)
    assert any("Traceback" in line for line in task.logs())


def test_a_gang_is_told_by_the_rank_that_knows_the_reason(farm: Farm) -> None:
    package = farm.publish(ONE_RANK_FAILS, name="one-fails")
    task = farm.submit(package=package, batch_size=6, epochs=1, distributed=True, n_clients=3)
    with pytest.raises(aifarm.TaskFailed, match=r"rank 1: .*division by zero"):
        task.wait(timeout=90)
    assert task.refresh().cause == "user_error"
    assert task.attempt == 1


def test_what_no_client_can_meet_waits_and_says_why(farm: Farm) -> None:
    package = farm.publish(SLOW, name="slow")
    task = farm.submit(package=package, min_cpu_cores=4096, config={"seconds": 0})
    reasons = {missing.client: missing.reason for missing in task.why().clients}
    assert all("4096 CPU cores" in reason for reason in reasons.values())
    assert task.stop().observed == "stopped"


def test_data_is_fetched_once_by_each_client(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "about.txt").write_text("made up")
    train = farm.put(numpy.ones((60, 2), dtype="float32"), "ones")
    notes = farm.put(tmp_path, "notes")
    package = farm.publish(STORED, name="stored", data={"notes": notes})
    options = {"package": package, "batch_size": 6, "epochs": 1, "data": {"train": train}}
    gang = farm.submit(distributed=True, n_clients=3, **options)
    gang.wait(timeout=100)
    for rank in range(3):
        assert [line for line in gang.logs(rank) if "train: 608 B fetched in" in line]
    provenance = gang.attempts()[0].provenance["2"]["data"]
    assert provenance["train"] == {"url": train.url, "sha256": train.sha256, "size": 608}
    assert provenance["notes"]["sha256"] == notes.sha256
    task = farm.submit(**options)
    task.wait(timeout=60)
    assert "[aifarm] train: 608 B, on this client already" in list(task.logs())


def test_data_that_is_not_what_its_hash_says_fails_in_one_sentence(
    farm: Farm, tmp_path: Path
) -> None:
    (tmp_path / "x").write_text("other")
    package = farm.publish(SLOW, name="slow")
    task = farm.submit(package=package, data={"train": f"file://{tmp_path}/x#sha256={'0' * 64}"})
    with pytest.raises(aifarm.TaskFailed, match=r"The data 'train' .* its sha256 is"):
        task.wait(timeout=60)
    assert (task.refresh().cause, task.attempt) == ("user_error", 1)
