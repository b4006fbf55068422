"""Interrupted and resumed training ends in the same bits as if nothing had happened."""

import contextlib
import hashlib
import os
import signal

import pytest
import torch

# Everything that has a state: augmentation from three generators, dropout, batch norm, momentum,
# a schedule, random numbers in evaluation.
SOURCE = """
import random

import numpy
import torch
from torch import nn
from torch.utils.data import Dataset


class Shaken(Dataset):
    def __init__(self, samples):
        generator = torch.Generator().manual_seed(samples)
        self.points = torch.randn(samples, 8, generator=generator)
        self.labels = (self.points.sum(1) > 0).long() + (self.points[:, 0] > 1).long()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        noise = torch.randn(8) + random.random() + numpy.random.normal()
        return self.points[index] + 0.1 * noise, self.labels[index]


def build_model(cfg):
    layers = [nn.Linear(8, 64)]
    for _ in range(6):
        layers += [nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2)]
    return nn.Sequential(*layers, nn.Linear(64, 3))


def build_data(cfg):
    return Shaken(65), Shaken(20)


def build_optimizer(model, cfg):
    return torch.optim.AdamW(model.parameters(), lr=cfg["learning_rate"])


def build_scheduler(optimizer, cfg):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=cfg["epochs"])
"""
CONFIG = {"epochs": 20, "batch_size": 13, "seed": 9, "learning_rate": 0.003}
EVERY_OPTION = {
    "precision": "fp16",
    "grad_accumulation": 2,
    "clip_norm": 1.0,
    "compress_gradients": True,
    "eval_every": 7,
    "best": {"metric": "accuracy", "mode": "max"},
    "early_stopping": {"metric": "val_loss", "patience": 100},
}
SLOW = pytest.mark.slow


def kill(folder):
    """A rank whose peers were killed just before may have ended by itself."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(folder.spawned["pid"], signal.SIGKILL)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    (folder / "model.py").write_text(SOURCE)
    return folder


@pytest.fixture(scope="module")
def start(warm, package):
    def start(world_size, options=None, **task):
        config = {**CONFIG, **(options or {})}
        if world_size == 1:
            return [warm.start(package, config, **task)]
        return warm.start_gang(world_size, package, config, **task)

    return start


@pytest.fixture(scope="module")
def uninterrupted(start):
    """sha256 of the final weights, by world size."""
    known = {}

    def digest_at(world_size):
        if world_size not in known:
            known[world_size] = digest(finish(start(world_size)))
        return known[world_size]

    return digest_at


def finish(ranks):
    for folder in ranks:
        last, _ = folder.wait_for_end()
        assert last["type"] == "finished", last
    return ranks[0]


def first_step(folder):
    return next(step for step, _, metrics in folder.points if "loss" in metrics)


def digest(folder):
    final = folder.of("checkpoint")[-1]
    assert final["final"] is True
    assert final["step"] == 100
    model = torch.load(final["path"], weights_only=True)["model"]
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in model.values())).hexdigest()


def interrupt_by_stop(ranks):
    ranks[0].wait_for_step(23)
    for folder in ranks:
        folder.desire("stopped")
    for folder in ranks:
        assert folder.wait_for_end()[0]["type"] == "stopped"


def interrupt_by_kill(ranks):
    ranks[0].wait_for("checkpoint", lambda line: line["step"] >= 23)
    for folder in ranks:
        kill(folder)
    ends = [folder.wait_for_end()[1] for folder in ranks]
    assert ends[0]["signal"] == signal.SIGKILL


@pytest.mark.parametrize("interrupt", [interrupt_by_stop, interrupt_by_kill])
@pytest.mark.parametrize("world_size", [1, pytest.param(2, marks=SLOW), 3])
def test_a_resumed_attempt_ends_in_the_same_bits(start, uninterrupted, world_size, interrupt):
    ranks = start(world_size, checkpoint_seconds=0.01)
    interrupt(ranks)
    saved = ranks[0].of("checkpoint")[-1]
    assert saved["step"] < 100
    resumed = finish(start(world_size, resume=saved["path"]))
    assert first_step(resumed) == saved["step"] + 1
    assert digest(resumed) == uninterrupted(world_size)


@pytest.mark.parametrize("world_size", [1, 2, pytest.param(3, marks=SLOW)])
def test_a_held_run_ends_in_the_same_bits(start, uninterrupted, world_size):
    ranks = start(world_size)
    ranks[0].wait_for_step(23)
    for folder in ranks:
        folder.desire("paused")
    held_at = {folder.wait_for("paused")["step"] for folder in ranks}
    assert len(held_at) == 1
    assert held_at.pop() < 100
    for folder in ranks:
        folder.desire("running")
    assert digest(finish(ranks)) == uninterrupted(world_size)


@pytest.mark.parametrize("interrupt", [interrupt_by_stop, interrupt_by_kill])
@pytest.mark.parametrize("world_size", [1, 2, pytest.param(3, marks=SLOW)])
def test_with_every_option_too(start, world_size, interrupt):
    whole = digest(finish(start(world_size, EVERY_OPTION)))
    ranks = start(world_size, EVERY_OPTION, checkpoint_seconds=0.01)
    interrupt(ranks)
    saved = ranks[0].of("checkpoint")[-1]
    resumed = finish(start(world_size, EVERY_OPTION, resume=saved["path"]))
    assert digest(resumed) == whole
    told = next(line["resumed"] for line in resumed.lines if "resumed" in line)
    assert told["verified"] is True


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_many_interruptions_end_in_the_same_bits(start, uninterrupted, world_size):
    resume = None
    for target in (8, 23, 45, 66, 89):
        ranks = start(world_size, checkpoint_seconds=0, resume=resume)
        ranks[0].wait_for("checkpoint", lambda line, target=target: line["step"] >= target)
        for folder in ranks:
            kill(folder)
        for folder in ranks:
            folder.wait_for_end()
        resume = ranks[0].of("checkpoint")[-1]["path"]
    assert digest(finish(start(world_size, resume=resume))) == uninterrupted(world_size)


def test_a_gang_measures_what_a_step_costs_and_leaves_no_trace_of_it(start, uninterrupted):
    ranks = start(2, {"compress_gradients": "auto"})
    (measured,) = finish(ranks).of("measured")
    assert not ranks[1].of("measured")
    assert all(measured[name] > 0 for name in ("bandwidth", "latency", "gradients", "compute"))
    model = torch.load(ranks[0].of("checkpoint")[-1]["path"], weights_only=True)["model"]
    trained = sum(4 * t.numel() for name, t in model.items() if is_parameter(name)) / 2**20
    compressed = measured["gradients"] == pytest.approx(trained / 2)
    assert compressed or measured["gradients"] == pytest.approx(trained)
    whole = digest(finish(start(2, {"compress_gradients": compressed})))
    assert digest(ranks[0]) == whole
    assert (whole == uninterrupted(2)) is not compressed


def is_parameter(name):
    return name.endswith(("weight", "bias"))


def test_another_world_size_goes_on_from_the_same_step(start):
    ranks = start(3, checkpoint_seconds=0.01)
    interrupt_by_stop(ranks)
    saved = ranks[0].of("checkpoint")[-1]
    resumed = finish(start(1, resume=saved["path"]))
    assert first_step(resumed) == saved["step"] + 1
    assert resumed.points[-1][0] == 100
