"""Small packages and how they are trained in this process: for the tests of the trainer."""

import hashlib
import math
from types import SimpleNamespace

import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from aifarm.train import checkpoint
from aifarm.train.run import Run
from aifarm.train.trainer import Trainer


class Notes:
    """A journal in memory."""

    def __init__(self):
        self.points = []
        self.lines = []

    def point(self, step, metrics, progress):
        self.points.append((step, metrics, progress))

    def flush_if_due(self):
        pass

    def write(self, line):
        self.lines.append(line)

    @property
    def written(self):
        """What was said of each checkpoint."""
        return [line for line in self.lines if line["type"] == "checkpoint"]

    def series(self, name):
        return [metrics[name] for _, metrics, _ in self.points if name in metrics]


class StopAt:
    """A control that desires `stopped` from the given step boundary on."""

    def __init__(self, boundary):
        self.left = boundary

    def poll(self, timeout=0.0):
        self.left -= 1
        return "running" if self.left >= 0 else "stopped"


def blobs(samples, seed=0):
    """Three clouds of points in the plane, and which cloud each point is from."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (samples,), generator=generator)
    angles = labels * 2 * math.pi / 3
    centres = torch.stack([angles.cos(), angles.sin()], dim=1)
    return TensorDataset(centres + 0.3 * torch.randn(samples, 2, generator=generator), labels)


def classifier(**extra):
    functions = {
        "build_model": lambda cfg: nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 3)),
        "build_data": lambda cfg: (blobs(200), blobs(70, seed=1)),
    }
    return SimpleNamespace(**{**functions, **extra})


class Shaken(Dataset):
    """Samples with noise from torch's, numpy's and Python's generators, as augmentation has it."""

    def __init__(self, samples):
        self.data = blobs(samples)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        import random

        import numpy

        point, label = self.data[index]
        noise = torch.randn(2) + random.random() + numpy.random.normal()
        return point + 0.01 * noise, label


class NoisyInEval(nn.Module):
    """Draws random numbers in evaluation too."""

    def forward(self, x):
        return x + 0.01 * torch.randn_like(x)


def hard_to_resume():
    """Everything that has a state: dropout, batch norm, augmentation, momentum, a schedule."""

    def build_scheduler(optimizer, cfg):
        return torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.8)

    def build_model(cfg):
        return nn.Sequential(
            nn.Linear(2, 16),
            nn.BatchNorm1d(16),
            nn.Dropout(0.3),
            nn.ReLU(),
            NoisyInEval(),
            nn.Linear(16, 3),
        )

    return classifier(
        build_model=build_model,
        build_data=lambda cfg: (Shaken(50), blobs(25, seed=1)),
        build_scheduler=build_scheduler,
    )


def train(folder, package, config, control=None, resume=None, **options):
    """Trains in `folder`; returns (what train returned, the journal)."""
    notes = Notes()
    run = Run(folder, config, journal=notes, control=control, resume=resume, **options)
    return Trainer(run, package).train(), notes


def digest(notes):
    """sha256 over the weights and the optimizer's state of the last checkpoint."""
    state = checkpoint.load(notes.written[-1]["path"])
    tensors = [*state["model"].values()]
    for slots in state["optimizer"]["state"].values():
        tensors += [torch.as_tensor(slot) for slot in slots.values()]
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in tensors)).hexdigest()
