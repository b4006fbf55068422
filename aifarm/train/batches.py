"""Which samples a step sees: a function of (seed, epoch, batch), whatever the number of ranks."""

from __future__ import annotations

import random
from typing import Any

from aifarm.train.package import PackageInvalid


def derived_seed(seed: int, *path: Any) -> int:
    """A seed of its own for each purpose, e.g. ("epoch", 3)."""
    return random.Random("/".join(map(str, (seed, *path)))).getrandbits(63)


def split(data: Any) -> tuple[Any, Any]:
    """(train, validation or None) from what build_data returned."""
    train, validation = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    for dataset in (train,) if validation is None else (train, validation):
        if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise PackageInvalid(
                f"build_data returned a {type(dataset).__name__}; it must return a data set with a "
                "length and items (torch.utils.data.Dataset), or a pair (train, validation) of them"
            )
    return train, validation


def count(samples: int, batch_size: int, world_size: int, pieces: int = 1) -> int:
    """Steps in an epoch. All samples make one batch where they are fewer than batch_size.

    Each rank computes its share of a batch in so many `pieces`.
    """
    if min(samples, batch_size) < world_size * pieces:
        what = "sample" if pieces == 1 else f"{pieces} samples (grad_accumulation)"
        raise PackageInvalid(
            f"{world_size} ranks cannot share {samples} training samples in batches of "
            f"{batch_size}: each rank needs at least {'one ' * (pieces == 1)}{what} in each batch"
        )
    return max(1, samples // batch_size)


def order(samples: int, seed: int, epoch: int) -> Any:
    """The indices of an epoch in the order of training, an int64 tensor."""
    import torch

    generator = torch.Generator().manual_seed(derived_seed(seed, "epoch", epoch))
    return torch.randperm(samples, generator=generator)


def share(indices: Any, rank: int, world_size: int) -> Any:
    """The part of a batch's `indices` that `rank` computes; parts differ by one sample at most."""
    size = len(indices)
    return indices[rank * size // world_size : (rank + 1) * size // world_size]


def fetch(dataset: Any, indices: Any) -> Any:
    """The samples at `indices` as one batch, collated as torch's DataLoader does it."""
    from torch.utils.data import TensorDataset, default_collate

    if isinstance(dataset, TensorDataset):
        return dataset[indices]  # one look-up for the whole batch
    indices = indices.tolist()
    if hasattr(dataset, "__getitems__"):
        return default_collate(dataset.__getitems__(indices))
    return default_collate([dataset[index] for index in indices])


def move(value: Any, device: Any) -> Any:
    """`value` with every tensor in its tuples, lists and dicts on `device`."""
    if hasattr(value, "to"):
        return value.to(device)
    if isinstance(value, dict):
        return {key: move(item, device) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(move(item, device) for item in value))
    if isinstance(value, (list, tuple)):
        return type(value)(move(item, device) for item in value)
    return value


def mean(parts: list[tuple[dict[str, Any], int]]) -> dict[str, Any]:
    """The mean of values that are means over so many samples each."""
    total = sum(samples for _, samples in parts)
    return {
        name: sum(values[name] * (samples / total) for values, samples in parts)
        for name in parts[0][0]
    }


class Sums:
    """Means over samples that come in parts, e.g. from several ranks."""

    def __init__(self) -> None:
        self.samples = 0
        self.sums: dict[str, float] = {}

    def add(self, means: dict[str, Any], samples: int) -> None:
        """Takes in the means over `samples` more samples."""
        self.samples += samples
        for name, value in means.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value) * samples

    @classmethod
    def total(cls, parts: list[Sums]) -> Sums:
        whole = cls()
        for part in parts:
            if part.samples:
                whole.add(part.means(), part.samples)
        return whole

    def means(self) -> dict[str, float]:
        return {name: value / self.samples for name, value in self.sums.items()}
