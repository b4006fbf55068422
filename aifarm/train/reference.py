"""The loss of one batch, saved with a checkpoint and computed again by the run that resumes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

from aifarm.train import checkpoint

TOLERANCE = 1e-3  # another machine rounds differently


@contextlib.contextmanager
def evaluating(model: Any, device: Any) -> Iterator[None]:
    """Evaluation mode without gradients; after it each module's mode and every generator are as
    they were, so that evaluating does not change the training."""
    import torch

    rng = checkpoint.rng_state(device)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        checkpoint.restore_rng(rng, device)


def compare(expected: float, found: float) -> bool:
    """Whether the restored run computes what the saved one did."""
    both_nan = math.isnan(expected) and math.isnan(found)
    return both_nan or math.isclose(expected, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE**2)
