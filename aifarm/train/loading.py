"""A script's loader, opened in the middle of an epoch: without reading what was trained already."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from aifarm.train import checkpoint
from aifarm.train.batches import derived_seed


class Loading:
    """Remembers what the order of the present epoch was drawn from."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self._epoch = -1
        self._order: dict[str, Any] = {}  # the generators when the epoch's order was drawn
        self._generator: Any = None  # the loader's own, if it has one

    def state(self) -> dict[str, Any]:
        """What `open` needs of this in a checkpoint."""
        state: dict[str, Any] = {"order": self._order}
        if self._generator is not None:
            state["generator"] = self._generator.get_state()
        return state

    def open(
        self, loader: Any, epoch: int, batch: int, own: dict[str, Any]
    ) -> tuple[Iterator[Any], int | None]:
        """The batches of `epoch` from `batch` on, and how many the epoch has, if that is known.

        `own`: the generators as they were saved, where the run resumes in this epoch.
        """
        device = self._run.device
        self._generator = getattr(loader, "generator", None)
        first = self._epoch == -1
        resumes = first and batch > 0
        self._epoch = epoch
        if first and own and self._generator is not None:
            at_order = own["order"] if resumes else own
            if "generator" in at_order:
                self._generator.set_state(at_order["generator"])
        if resumes:
            checkpoint.restore_rng(own["order"], device)
        self._order = checkpoint.rng_state(device)
        if self._generator is not None:
            self._order["generator"] = self._generator.get_state()
        batches, count = _open(loader, batch)
        if resumes:
            checkpoint.restore_rng(own, device)
        return batches, count


def _open(loader: Any, skipped: int) -> tuple[Iterator[Any], int | None]:
    from torch.utils.data import DataLoader, IterableDataset

    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        batches = iter(loader)  # it cannot be entered in the middle: what was trained is read again
        for _ in islice(batches, skipped):
            pass
        return batches, len(loader) if _has_length(loader) else None
    whole = loader.batch_sampler is not None  # else an item of the data set is a batch by itself
    order = list(loader.batch_sampler if whole else loader.sampler)
    return iter(_rest(loader, order, skipped, whole)), len(order)


def _rest(loader: Any, order: list[Any], skipped: int, whole: bool) -> Any:
    """`loader` for the rest of its `order`."""
    import torch
    from torch.utils.data import DataLoader

    options: dict[str, Any] = {}
    dataset, rest = loader.dataset, order[skipped:]
    if loader.num_workers:
        # Workers know nothing of the batches that others, or an earlier process, have read: each
        # batch brings the seed of its noise along.
        seed = int(torch.empty((), dtype=torch.int64).random_(generator=loader.generator))
        seeds = [derived_seed(seed, number) for number in range(skipped, len(order))]
        rest = [[own, *batch] if whole else [own, batch] for own, batch in zip(seeds, rest)]
        dataset = _Seeded(dataset)
        options = {
            "prefetch_factor": loader.prefetch_factor,
            "multiprocessing_context": loader.multiprocessing_context,
            "worker_init_fn": loader.worker_init_fn,
        }
    order_option = {"batch_sampler": rest} if whole else {"sampler": rest, "batch_size": None}
    return DataLoader(
        dataset,
        **order_option,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        generator=torch.Generator(),  # its own, so that opening draws nothing from the script's
        **options,
    )


class _Seeded:
    """A data set whose batches bring the seed of their noise along."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitems__(self, seeded: list[Any]) -> Any:
        seed, *indices = seeded
        checkpoint.seed_everything(seed)
        if hasattr(self.dataset, "__getitems__"):
            return self.dataset.__getitems__(indices)
        return [self.dataset[index] for index in indices]

    def __getitem__(self, seeded: list[Any]) -> Any:
        seed, index = seeded
        checkpoint.seed_everything(seed)
        return self.dataset[index]


def _has_length(loader: Any) -> bool:
    try:
        return len(loader) > 0
    except TypeError:
        return False
