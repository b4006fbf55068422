"""What stays the same whatever the number of ranks: the loss, and torchmetrics' numbers."""

import pytest
import torch

from warm import WarmProcess

SLOW = pytest.mark.slow
TOLERANCE = 1e-3
"""Relative; as the how-to says."""

# Nothing is drawn at random but the order of the samples, which is the same at any world size.
SOURCE = """
import torch
import torchmetrics
from torch import nn
from torch.utils.data import TensorDataset


def build_model(cfg):
    return nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 3))


def build_data(cfg):
    points = torch.randn(137, 8, generator=torch.Generator().manual_seed(1))
    labels = (points.sum(1) > 0).long() + (points[:, 0] > 1).long()
    return TensorDataset(points[:100], labels[:100]), TensorDataset(points[100:], labels[100:])


def build_optimizer(model, cfg):
    return torch.optim.SGD(model.parameters(), lr=cfg["learning_rate"], momentum=0.9)


def build_scheduler(optimizer, cfg):
    schedulers = torch.optim.lr_scheduler
    if cfg["schedule"] == "plateau":
        return schedulers.ReduceLROnPlateau(optimizer, patience=0, threshold=1.0)
    warm_up = schedulers.LinearLR(optimizer, start_factor=0.1, total_iters=2)
    rest = schedulers.CosineAnnealingLR(optimizer, T_max=cfg["epochs"])
    return schedulers.SequentialLR(optimizer, [warm_up, rest], milestones=[2])


def metrics(cfg):
    kind = {"task": "multiclass", "num_classes": 3}
    return {
        "accuracy": torchmetrics.Accuracy(**kind),
        "f1": torchmetrics.F1Score(average="macro", **kind),
        "auroc": torchmetrics.AUROC(**kind),
    }
"""
# 37 samples in threes of 12: the last one has a single sample, and two ranks have none of it.
CONFIG = {"epochs": 10, "batch_size": 12, "seed": 9, "learning_rate": 0.05}


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    warm = WarmProcess(tmp_path_factory.mktemp("warm")).connect()
    yield warm
    warm.close()


@pytest.fixture(scope="module")
def start(warm, tmp_path_factory):
    package = tmp_path_factory.mktemp("package")
    (package / "model.py").write_text(SOURCE)

    def start(world_size, schedule="sequence", **task):
        config = {**CONFIG, "schedule": schedule}
        if world_size == 1:
            return [warm.start(package, config, **task)]
        return warm.start_gang(world_size, package, config, **task)

    return start


def finish(ranks):
    for folder in ranks:
        last, _ = folder.wait_for_end()
        assert last["type"] == "finished", last
    return ranks[0]


def curve(folder, name):
    return {step: metrics[name] for step, _, metrics in folder.points if name in metrics}


def close(found, expected):
    assert found == pytest.approx(expected, rel=TOLERANCE, abs=1e-4)


@pytest.mark.parametrize("schedule", ["sequence", pytest.param("plateau", marks=SLOW)])
def test_curves_are_the_same_at_any_world_size(start, schedule):
    alone, gang = (finish(start(size, schedule)) for size in (1, 3))
    names = ("val_loss", "accuracy", "f1", "auroc", "learning_rate")
    assert len(curve(alone, "auroc")) == CONFIG["epochs"]
    assert len(set(curve(alone, "learning_rate").values())) > 2
    for name in names:
        close(curve(gang, name), curve(alone, name))
    state = torch.load(alone.of("checkpoint")[-1]["path"], weights_only=True)
    assert not any("auroc" in name for name in state["model"])


@pytest.mark.parametrize(("before", "after"), [pytest.param(3, 1, marks=SLOW), (1, 2)])
def test_resumed_with_other_ranks_it_ends_with_the_same_loss(start, before, after):
    whole = finish(start(1))
    ranks = start(before, checkpoint_seconds=0)
    ranks[0].wait_for_step(23)
    for folder in ranks:
        folder.desire("stopped")
    for folder in ranks:
        assert folder.wait_for_end()[0]["type"] == "stopped"
    saved = ranks[0].of("checkpoint")[-1]
    resumed = finish(start(after, resume=saved["path"]))
    found, expected = curve(resumed, "val_loss"), curve(whole, "val_loss")
    assert list(found) == [step for step in expected if step >= min(found)]
    assert min(found) in range(saved["step"], saved["step"] + 9)
    close(found, {step: expected[step] for step in found})
    told = next(line["resumed"] for line in resumed.lines if "resumed" in line)
    assert told["verified"] is True
