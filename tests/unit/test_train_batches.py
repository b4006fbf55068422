import collections
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from aifarm.train import batches
from aifarm.train.package import PackageInvalid


@given(st.integers(0, 200), st.integers(1, 8))
def test_the_shares_of_all_ranks_are_the_batch_and_differ_by_one_at_most(size, world_size):
    indices = list(range(size))
    shares = [batches.share(indices, rank, world_size) for rank in range(world_size)]
    assert list(itertools.chain(*shares)) == indices
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_an_epoch_has_an_order_of_its_own_that_is_always_the_same():
    first = batches.order(100, seed=1, epoch=0)
    assert sorted(first.tolist()) == list(range(100))
    assert torch.equal(first, batches.order(100, seed=1, epoch=0))
    assert not torch.equal(first, batches.order(100, seed=1, epoch=1))
    assert not torch.equal(first, batches.order(100, seed=2, epoch=0))


def test_the_order_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    batches.order(100, seed=1, epoch=0)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("samples", "batch_size", "world_size", "steps"), [(100, 32, 1, 3), (10, 32, 3, 1)]
)
def test_the_ragged_end_of_an_epoch_is_left_out(samples, batch_size, world_size, steps):
    assert batches.count(samples, batch_size, world_size) == steps


@pytest.mark.parametrize(
    ("samples", "batch_size", "world_size"), [(0, 32, 1), (2, 32, 3), (9, 2, 3)]
)
def test_too_few_samples_for_the_ranks_are_refused(samples, batch_size, world_size):
    with pytest.raises(PackageInvalid, match=f"cannot share {samples} training samples"):
        batches.count(samples, batch_size, world_size)


def test_a_batch_is_the_same_by_every_way_of_fetching():
    data = TensorDataset(torch.randn(10, 3), torch.arange(10))
    indices = torch.tensor([7, 1, 4])
    direct = batches.fetch(data, indices)
    for dataset in (list(data), Subset(data, range(10))):
        images, labels = batches.fetch(dataset, indices)
        assert torch.equal(images, direct[0])
        assert labels.tolist() == [7, 1, 4]


def test_build_data_returns_a_set_or_a_pair():
    train, validation = [1, 2, 3], [4]
    assert batches.split(train) == (train, None)
    assert batches.split((train, validation)) == (train, validation)
    assert batches.split((train, None)) == (train, None)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([1, 2])


@pytest.mark.parametrize("data", [None, iter([1]), DataLoader([1, 2]), Stream(), ([1], Stream())])
def test_what_has_no_length_or_items_is_refused(data):
    with pytest.raises(PackageInvalid, match="it must return a data set"):
        batches.split(data)


def test_move_reaches_nested_tensors():
    Pair = collections.namedtuple("Pair", "x y")
    one = torch.ones(1)
    moved = batches.move({"a": (one, [one, "text"]), "b": Pair(one, 3)}, torch.device("meta"))
    assert moved["a"][0].is_meta
    assert moved["a"][1][0].is_meta
    assert moved["a"][1][1] == "text"
    assert moved["b"].x.is_meta
    assert moved["b"].y == 3


@given(
    st.lists(
        st.lists(st.tuples(st.floats(-100, 100), st.integers(1, 50)), max_size=5), min_size=1
    ).filter(any)
)
def test_means_do_not_depend_on_who_saw_which_samples(ranks):
    parts = []
    for rank in ranks:
        part = batches.Sums()
        for mean, samples in rank:
            part.add({"loss": mean}, samples)
        parts.append(part)
    seen = [item for rank in ranks for item in rank]
    expected = sum(mean * n for mean, n in seen) / sum(n for _, n in seen)
    assert batches.Sums.total(parts).means()["loss"] == pytest.approx(expected, abs=1e-9)
