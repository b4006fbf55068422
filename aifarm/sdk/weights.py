"""Reading a checkpoint's file. PyTorch is imported only here, and only when asked for weights."""

import os
from pathlib import Path
from typing import Any

from aifarm.sdk.errors import AIFarmError


def model_weights(path: Path, map_location: Any) -> dict[str, Any]:
    """The `model` in the checkpoint at `path`, loaded with `weights_only=True`.

    Raises AIFarmError without PyTorch, or where there is none in it.
    """
    try:
        import torch
    except ImportError:
        raise AIFarmError(
            "Weights are loaded with PyTorch, which this Python does not have: install torch, "
            "or use checkpoint().download(path)."
        ) from None
    loaded = torch.load(os.fspath(path), map_location=map_location, weights_only=True)
    if not isinstance(loaded, dict) or "model" not in loaded:
        raise AIFarmError("The checkpoint holds no `model`: a script saved it its own way.")
    state: dict[str, Any] = loaded["model"]
    return state
