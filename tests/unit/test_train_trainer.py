"""The trainer in this process, on one rank; gangs and real workers are in integration."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from aifarm.train import checkpoint
from aifarm.train import run as runs
from aifarm.train.package import PackageInvalid
from aifarm.train.run import Run
from aifarm.train.trainer import Trainer
from train_world import Shaken, StopAt, blobs, classifier, digest, hard_to_resume, train


@pytest.fixture(autouse=True, scope="module")
def _look_at_each_boundary():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "ALONE_SECONDS", 0.0)
        yield


def test_a_classifier_learns_with_what_the_package_leaves_out(tmp_path):
    final, notes = train(tmp_path, classifier(), {"epochs": 20, "learning_rate": 0.01})
    assert final["final_accuracy"] > 0.95
    assert final["final_loss"] < 0.3
    assert final["training_time"] > 0
    steps = 20 * (200 // 32)
    assert len(notes.series("loss")) == steps
    assert notes.series("learning_rate") == [0.01] * steps
    assert len(notes.series("val_loss")) == len(notes.series("accuracy")) == 20
    assert [step for step, metrics, _ in notes.points if "loss" in metrics] == list(
        range(1, steps + 1)
    )
    assert notes.points[-1][2] == 100.0
    assert notes.written[-1]["final"] is True


def test_the_final_checkpoint_loads_into_the_model(tmp_path):
    package = classifier()
    final, notes = train(tmp_path, package, {"epochs": 5, "own_key": 1})
    state = torch.load(notes.written[-1]["path"], weights_only=True)
    assert set(state) == {
        "format", "model", "optimizer", "scheduler", "rng", "position", "loop", "reference",
        "config", "metrics",
    }  # fmt: skip
    assert state["position"] == {"epoch": 5, "batch": 0, "step": 30}
    assert state["config"]["own_key"] == 1
    model = package.build_model({})
    model.load_state_dict(state["model"])
    points, labels = blobs(70, seed=1)[:]
    accuracy = (model(points).argmax(1) == labels).float().mean().item()
    assert accuracy == pytest.approx(final["final_accuracy"])


def test_the_package_is_told_where_its_data_lie_unless_it_has_a_place_of_its_own(tmp_path):
    told = []

    def build_data(cfg):
        told.append(cfg["data_dir"])
        return blobs(200)

    package = classifier(build_data=build_data)
    train(tmp_path / "own", package, {"epochs": 1, "data_dir": "/mine"})
    _, notes = train(tmp_path / "farm", package, {"epochs": 1})
    assert told == ["/mine", str(tmp_path / "farm" / "data")]
    state = torch.load(notes.written[-1]["path"], weights_only=True)
    assert "data_dir" not in state["config"]


def test_without_validation_data_the_training_batches_are_measured(tmp_path):
    package = classifier(build_data=lambda cfg: blobs(200))
    final, notes = train(tmp_path, package, {"epochs": 20, "learning_rate": 0.01})
    assert len(notes.series("accuracy")) == len(notes.series("loss")) == 120
    assert final["final_loss"] == notes.series("loss")[-1]
    assert final["final_accuracy"] == notes.series("accuracy")[-1]


@pytest.mark.parametrize("shape", [(64, 1), (64,)])
def test_a_regression_learns_by_the_squared_error_whatever_the_shape_of_the_target(tmp_path, shape):
    x = torch.linspace(-1, 1, 64).reshape(64, 1)
    package = SimpleNamespace(
        build_model=lambda cfg: nn.Linear(1, 1),
        build_data=lambda cfg: TensorDataset(x, (3 * x + 1).reshape(shape)),
    )
    final, _ = train(tmp_path, package, {"epochs": 300, "learning_rate": 0.05})
    assert final["final_loss"] < 1e-3
    assert "final_accuracy" not in final


def test_a_package_may_bring_its_own_optimizer_loss_and_metrics(tmp_path):
    class Points(Dataset):
        def __len__(self):
            return 64

        def __getitem__(self, index):
            return {"x": torch.tensor([index / 64])}

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def forward(self, batch):
            return {"y": self.layer(batch["x"])}

    package = SimpleNamespace(
        build_model=lambda cfg: Model(),
        build_data=lambda cfg: (Points(), Points()),
        build_optimizer=lambda model, cfg: torch.optim.SGD(model.parameters(), lr=0.5),
        loss=lambda out, batch: (out["y"] - batch["x"]).square().mean(),
        metrics=lambda out, batch: {"error": (out["y"] - batch["x"]).abs().mean()},
    )
    final, notes = train(tmp_path, package, {"epochs": 100})
    assert final["final_loss"] < 1e-3
    assert notes.series("error")[-1] < 0.05
    assert notes.series("learning_rate")[0] == 0.5


def test_a_batch_of_inputs_alone_is_its_own_target(tmp_path):
    package = SimpleNamespace(
        build_model=lambda cfg: nn.Linear(4, 4),
        build_data=lambda cfg: TensorDataset(torch.randn(64, 4)),
    )
    final, notes = train(tmp_path, package, {"epochs": 50, "learning_rate": 0.05})
    assert final["final_loss"] < notes.series("loss")[0] / 10


def test_the_scheduler_steps_after_each_epoch(tmp_path):
    package = classifier(
        build_scheduler=lambda optimizer, cfg: torch.optim.lr_scheduler.ExponentialLR(
            optimizer, gamma=0.5
        )
    )
    _, notes = train(tmp_path, package, {"epochs": 3, "learning_rate": 0.4})
    assert notes.series("learning_rate") == [0.4] * 6 + [0.2] * 6 + [0.1] * 6


def test_a_scheduler_that_watches_the_loss_gets_it(tmp_path):
    package = classifier(
        build_optimizer=lambda model, cfg: torch.optim.SGD(model.parameters(), lr=0.0),
        build_scheduler=lambda optimizer, cfg: torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, patience=1
        ),
    )
    _, notes = train(tmp_path, package, {"epochs": 4})
    assert notes.written[-1]["metrics"]["val_loss"] == pytest.approx(notes.series("val_loss")[0])
    state = checkpoint.load(notes.written[-1]["path"])
    assert state["scheduler"]["num_bad_epochs"] + state["scheduler"]["last_epoch"] > 4


def test_a_setting_that_is_null_is_one_left_out_and_a_module_is_no_function(tmp_path):
    config = {"epochs": 1, "batch_size": None, "seed": None, "learning_rate": None, "own": None}
    _, notes = train(tmp_path, classifier(metrics=math), config)
    used = checkpoint.load(notes.written[-1]["path"])["config"]
    assert [used[name] for name in config] == [1, 32, 0, 0.001, None]
    assert notes.series("accuracy")


def test_the_same_seed_gives_the_same_bits_and_another_one_others(tmp_path):
    digests = [
        digest(train(tmp_path / str(n), hard_to_resume(), {"epochs": 2, "seed": seed})[1])
        for n, seed in enumerate((3, 3, 4))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_evaluating_does_not_change_the_training(tmp_path):
    with_validation = hard_to_resume()
    without = SimpleNamespace(**vars(with_validation))
    without.build_data = lambda cfg: Shaken(50)
    runs = [train(tmp_path / n, p, {"epochs": 3, "batch_size": 8})[1] for n, p in
            (("a", with_validation), ("b", without))]  # fmt: skip
    assert digest(runs[0]) == digest(runs[1])


CONFIG = {"epochs": 3, "batch_size": 8, "seed": 5}
# The first step, 6 steps and 4 batches of validation in an epoch.
BOUNDARIES = 1 + 3 * (6 + 4)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return digest(train(folder, hard_to_resume(), CONFIG)[1])


@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(stops=st.lists(st.integers(0, BOUNDARIES - 1), min_size=1, max_size=3))
def test_stopped_anywhere_and_resumed_gives_the_same_bits(tmp_path_factory, uninterrupted, stops):
    folder = tmp_path_factory.mktemp("stopped")
    resume = None
    for number, boundary in enumerate(stops):
        final, notes = train(
            folder / str(number), hard_to_resume(), CONFIG, StopAt(boundary), resume
        )
        if final is not None:  # the earlier attempts have come so far that this one finished
            break
        resume = notes.written[-1]["path"]
    else:
        final, notes = train(folder / "last", hard_to_resume(), CONFIG, resume=resume)
    assert digest(notes) == uninterrupted
    assert notes.points[-1][0] == 18


def test_resuming_from_any_checkpoint_of_a_lost_attempt_gives_the_same_bits(
    tmp_path, uninterrupted
):
    config = {**CONFIG, "checkpoint_steps": 1}
    _, notes = train(tmp_path / "lost", hard_to_resume(), config, keep_checkpoints=100)
    paths = [line["path"] for line in notes.written]
    assert len(set(paths)) == 18
    for number, path in enumerate(paths[:-1:4]):
        _, resumed = train(tmp_path / str(number), hard_to_resume(), CONFIG, resume=path)
        assert digest(resumed) == uninterrupted


def test_a_finished_task_resumed_trains_no_further(tmp_path):
    final, first = train(tmp_path / "a", classifier(), {"epochs": 2})
    again, second = train(
        tmp_path / "b", classifier(), {"epochs": 2}, resume=first.written[-1]["path"]
    )
    assert second.points == []
    assert digest(second) == digest(first)
    assert again["final_accuracy"] == final["final_accuracy"]
    assert again["training_time"] >= final["training_time"]


@pytest.mark.parametrize(
    ("package", "config", "doing", "error", "text"),
    [
        ({"build_model": lambda cfg: 3}, {}, "build_model", PackageInvalid, "returned int, not a"),
        ({"build_model": lambda cfg: cfg["depth"]}, {}, "build_model", KeyError, "depth"),
        ({"build_data": lambda cfg: None}, {}, "build_data", PackageInvalid, "returned a NoneType"),
        (
            {"build_model": lambda cfg: nn.Linear(3, 3)},
            {},
            "the forward pass",
            RuntimeError,
            "shapes cannot be multiplied",
        ),
        ({"loss": lambda out, batch: 1 / 0}, {}, "the loss", ZeroDivisionError, "division"),
        ({"loss": lambda out, batch: out}, {}, "the backward pass", RuntimeError, "scalar"),
        ({"metrics": lambda out, batch: 1 / 0}, {}, "metrics", ZeroDivisionError, "division"),
        ({}, {"epochs": 0}, "reading the config", ValueError, "epochs is 0; it must be"),
        ({}, {"batch_size": 2.5}, "reading the config", ValueError, "batch_size is 2.5"),
        (
            {"build_data": lambda cfg: blobs(64)},
            {"best": {"metric": "accuracy"}},
            "build_data",
            PackageInvalid,
            "need validation data",
        ),
        (
            {},
            {"early_stopping": {"metric": "f1", "patience": 1}},
            "the best value and early stopping",
            ValueError,
            "there is no metric 'f1' to watch; measured: val_loss, accuracy",
        ),
    ],
)
def test_an_error_is_blamed_on_what_was_done(tmp_path, package, config, doing, error, text):
    trainer = Trainer(Run(tmp_path, config), classifier(**package))
    with pytest.raises(error, match=text):
        trainer.train()
    assert trainer.doing == doing
