"""Checkpoint files: written whole or not at all, hashed while they are written.

A file is one `torch.save` dict that `torch.load(..., weights_only=True)` reads:

    format     1
    model      state_dict of the plain model, on the CPU: build_model(cfg).load_state_dict(it)
    optimizer  its state_dict
    scheduler  its state_dict, or None
    rng        per rank: the states of every random generator
    position   {"epoch", "batch", "step"}: what comes next
    loop       the states of the loop itself: scaler, best value, patience
    reference  the loss of a batch, by which a resume is verified, or None
    config     of the task
    metrics    the latest value of each

A script's has `model` (what it tracks under that name), `tracked` (the states of the rest), `rng`,
`position`, `loop`, `config` and `metrics`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)

FORMAT = 1
LEFT_BYTES = 32 * 2**20  # of the disk: results that wait for the server need room more


class Written(NamedTuple):
    """A checkpoint on disk: `size` in bytes, `sha256` of the file in hex."""

    path: Path
    size: int
    sha256: str


def save(state: dict[str, Any], folder: Path, step: int) -> Written:
    """Writes `state` to `folder`/step-NNNNNNNN.pt, durably. Raises OSError when the disk refuses.

    What was there before stays intact until the new file is complete.
    """
    import torch

    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.pt"
    temporary = path.with_suffix(".tmp")
    try:
        with open(temporary, "wb") as file:
            hashing: Any = _HashingFile(file)
            torch.save(state, hashing)
            file.flush()
            os.fsync(file.fileno())
        if shutil.disk_usage(folder).free < LEFT_BYTES:
            raise OSError(errno.ENOSPC, f"less than {LEFT_BYTES >> 20} MiB would be left on it")
        os.replace(temporary, path)
        _sync_folder(folder)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        # On its way out of a failed write torch fails once more, with a RuntimeError.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    return Written(path, hashing.size, hashing.sha256.hexdigest())


def export(model: dict[str, Any], folder: Path) -> bool:
    """Writes the weights to `folder`/weights.safetensors too, for those who have no PyTorch.

    False where that library is not installed, or the model has what the format does not take; the
    log says so. Weights that share their memory are each written whole.
    """
    path = folder / "weights.safetensors"
    temporary = path.with_suffix(".tmp")
    try:
        from safetensors.torch import save_file

        # Copies: the format takes neither views nor weights that share their memory.
        save_file({k: v.detach().cpu().clone().contiguous() for k, v in model.items()}, temporary)
        os.replace(temporary, path)
    except ImportError:
        logger.warning("safetensors is not installed here: the weights are in the checkpoint alone")
    except Exception as error:  # the checkpoint is written: that must not be lost to this
        logger.warning("the final weights cannot be written as safetensors: %s", error)
    else:
        return True
    return False


def load(path: str | Path) -> dict[str, Any]:
    """The state in the checkpoint at `path`, on the CPU. Raises ValueError when it is not ours."""
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of format {FORMAT}")
    return state


def newest(folder: Path) -> Path | None:
    """The checkpoint with the highest step in `folder`."""
    return max(folder.glob("step-*.pt"), default=None)


def prune(folder: Path, keep: int, best: Path | None = None) -> None:
    """Removes all but the newest `keep` files and the `best` one.

    The agent owns a checkpoint by a hard link that it makes when it reads the journal's line. An
    agent that was away finds the newest `keep` files, never a gap at the end.
    """
    for path in sorted(folder.glob("step-*.pt"))[:-keep]:
        if path != best:
            path.unlink()


def rng_state(device: Any) -> dict[str, Any]:
    """The state of every random generator of this process, in plain types and tensors."""
    import torch

    state: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if "numpy" in sys.modules:
        name, keys, *rest = sys.modules["numpy"].random.get_state(legacy=True)
        state["numpy"] = (name, keys.tolist(), *rest)
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_rng(state: dict[str, Any], device: Any) -> None:
    """Sets every random generator to what `rng_state` returned."""
    import torch

    random.setstate(state["python"])
    torch.set_rng_state(state["torch"])
    if "numpy" in state and "numpy" in sys.modules:
        sys.modules["numpy"].random.set_state(state["numpy"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def seed_everything(seed: int) -> None:
    """Seeds the generators of Python, numpy (where loaded) and torch on every device."""
    import torch

    random.seed(seed)
    torch.manual_seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)


class _HashingFile:
    """What torch.save needs of a file; it writes front to back, so one pass also hashes."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self.sha256.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
