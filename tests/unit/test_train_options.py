"""What a config may ask for, in this process on one rank, and that it resumes exactly."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from aifarm.train import checkpoint, reference
from aifarm.train import run as runs
from train_world import Notes, StopAt, classifier, digest, hard_to_resume, train


@pytest.fixture(autouse=True)
def _look_at_each_boundary(monkeypatch):
    monkeypatch.setattr(runs, "ALONE_SECONDS", 0.0)


class Hits:
    """As torchmetrics' objects are: it adds up over batches."""

    def __init__(self):
        self.reset()

    def to(self, device):
        return self

    def reset(self):
        self.right = self.seen = 0

    def update(self, out, target):
        self.right += (out.argmax(1) == target).sum()
        self.seen += len(target)

    def compute(self):
        return self.right / self.seen


OPTIONS = {
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16", "clip_norm": 0.5},
    "accumulation": {"grad_accumulation": 3, "clip_norm": 1.0},
    "evaluation": {
        "eval_every": 4,
        "best": {"metric": "accuracy", "mode": "max"},
        "early_stopping": {"metric": "val_loss", "patience": 2, "mode": "min"},
    },
}
CONFIG = {"epochs": 3, "batch_size": 8, "seed": 5}


@pytest.mark.parametrize("option", OPTIONS)
def test_stopped_after_any_step_and_resumed_gives_the_same_bits(tmp_path, option):
    config = {**CONFIG, **OPTIONS[option]}
    final, whole = train(tmp_path / "whole", hard_to_resume(), config)
    assert final is not None
    for boundary in (2, 9, 13):
        folder = tmp_path / str(boundary)
        none, first = train(folder / "a", hard_to_resume(), config, StopAt(boundary))
        assert none is None
        saved = first.written[-1]["path"]
        _, second = train(folder / "b", hard_to_resume(), config, resume=saved)
        assert digest(second) == digest(whole)
        ends = [checkpoint.load(notes.written[-1]["path"])["loop"] for notes in (whole, second)]
        assert ends[0] == ends[1]


def test_accumulated_pieces_make_the_step_of_the_whole_batch(tmp_path):
    ends = []
    for pieces in (1, 4):
        config = {"epochs": 3, "grad_accumulation": pieces, "seed": 1}
        _, notes = train(tmp_path / str(pieces), classifier(), config)
        ends.append(checkpoint.load(notes.written[-1]["path"])["model"])
        assert len(notes.series("loss")) == 18
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value)


def test_gradients_are_clipped(tmp_path):
    package = classifier(
        build_optimizer=lambda model, cfg: torch.optim.SGD(model.parameters(), lr=1.0)
    )
    models = [
        checkpoint.load(train(tmp_path / str(n), package, config)[1].written[-1]["path"])["model"]
        for n, config in enumerate(
            ({"epochs": 1, "batch_size": 200, "clip_norm": 1e-6}, {"epochs": 1, "batch_size": 200})
        )
    ]
    torch.manual_seed(0)
    start = package.build_model({}).state_dict()
    moved = [
        math.sqrt(sum(float((model[name] - start[name]).square().sum()) for name in start))
        for model in models
    ]
    assert moved[0] == pytest.approx(1e-6, rel=0.1)
    assert moved[1] > 1e-3


def test_an_overflow_in_fp16_halves_the_scale_and_leaves_the_weights(tmp_path):
    package = classifier(loss=lambda out, batch: out.float().sum() * 1e38)
    _, notes = train(tmp_path, package, {"epochs": 1, "batch_size": 200, "precision": "fp16"})
    state = checkpoint.load(notes.written[-1]["path"])
    assert state["loop"]["scaler"]["scale"] == 2.0**15
    torch.manual_seed(0)
    start = package.build_model({}).state_dict()
    assert all(torch.equal(state["model"][name], start[name]) for name in start)


def test_training_ends_early_when_the_metric_does_not_improve(tmp_path):
    package = classifier(metrics=lambda out, batch: {"constant": torch.tensor(1.0)})
    config = {"epochs": 50, "early_stopping": {"metric": "constant", "patience": 3}}
    final, notes = train(tmp_path / "a", package, config)
    assert final is not None
    assert len(notes.series("constant")) == 4
    assert notes.written[-1]["final"] is True
    assert notes.written[-1]["step"] == 4 * 6
    _, again = train(tmp_path / "b", package, config, resume=notes.written[-1]["path"])
    assert again.points == []


def test_the_best_checkpoint_is_kept_and_told(tmp_path):
    values = iter([0.1, 0.9, 0.5, 0.4, 0.3, 0.2])
    package = classifier(metrics=lambda out, batch: {"score": next(values)})
    config = {"epochs": 6, "batch_size": 200, "best": {"metric": "score", "mode": "max"}}
    _, notes = train(tmp_path, package, config)
    saved = [(line["step"], line["best"]) for line in notes.written]
    assert saved == [(1, True), (2, True), (6, False)]
    state = checkpoint.load(tmp_path / "checkpoints" / "step-00000002.pt")
    assert state["metrics"]["score"] == 0.9


def test_evaluation_comes_every_so_many_steps_and_at_the_end(tmp_path):
    _, notes = train(tmp_path, classifier(), {"epochs": 2, "eval_every": 5})
    steps = [step for step, metrics, _ in notes.points if "val_loss" in metrics]
    assert steps == [5, 10, 12]


def test_time_is_up_after_max_seconds_of_all_attempts(tmp_path):
    final, notes = train(tmp_path, classifier(), {"epochs": 100_000, "max_seconds": 0.2})
    assert final["training_time"] >= 0.2
    assert notes.written[-1]["final"] is True
    assert notes.points[-1][1].keys() >= {"val_loss"}
    resume = notes.written[-1]["path"]
    config = {"epochs": 100_000, "max_seconds": 0.2}
    _, again = train(tmp_path / "again", classifier(), config, resume=resume)
    assert again.written[-1]["step"] == notes.written[-1]["step"]


def test_objects_like_those_of_torchmetrics_measure_the_validation_data(tmp_path):
    config = {"epochs": 3, "learning_rate": 0.01}
    final, notes = train(
        tmp_path / "a", classifier(metrics=lambda cfg: {"accuracy": Hits()}), config
    )
    expected, means = train(tmp_path / "b", classifier(), config)
    assert notes.series("accuracy") == pytest.approx(means.series("accuracy"))
    assert final["final_accuracy"] == pytest.approx(expected["final_accuracy"])
    assert notes.series("val_loss") == means.series("val_loss")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the compiler
def test_a_compiled_model_has_the_same_names_and_resumes_exactly(tmp_path, monkeypatch):
    # The default backend needs a C++ compiler, and a path without a space, on the test's machine.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    config = {**CONFIG, "compile": True}
    _, whole = train(tmp_path / "whole", hard_to_resume(), config)
    _, first = train(tmp_path / "a", hard_to_resume(), config, StopAt(9))
    _, second = train(tmp_path / "b", hard_to_resume(), config, resume=first.written[-1]["path"])
    assert digest(second) == digest(whole)
    hard_to_resume().build_model({}).load_state_dict(
        checkpoint.load(second.written[-1]["path"])["model"]
    )


def test_a_resume_is_verified_by_the_loss_of_a_reference_batch(tmp_path, capsys):
    _, first = train(tmp_path / "a", hard_to_resume(), CONFIG, StopAt(9))
    path = first.written[-1]["path"]
    _, second = train(tmp_path / "b", hard_to_resume(), CONFIG, resume=path)
    told = second.lines[0]["resumed"]
    assert told["verified"] is True
    assert told["loss"] == told["expected"]
    step = first.written[-1]["step"]
    assert f"Resumed at step {step}: the loss of the reference batch" in capsys.readouterr().out
    state = checkpoint.load(path)
    state["reference"] = told["expected"] + 0.5
    torch.save(state, path)
    _, third = train(tmp_path / "c", hard_to_resume(), CONFIG, resume=path)
    assert third.lines[0]["resumed"]["verified"] is False
    assert "it is not the same training" in capsys.readouterr().out


def test_the_reference_can_be_left_out(tmp_path):
    config = {**CONFIG, "verify_resume": False}
    _, first = train(tmp_path / "a", classifier(), config, StopAt(9))
    assert checkpoint.load(first.written[-1]["path"])["reference"] is None
    _, second = train(tmp_path / "b", classifier(), config, resume=first.written[-1]["path"])
    assert second.lines[0]["resumed"] == {}


def test_a_loss_that_is_no_number_is_the_same_after_a_resume():
    assert reference.compare(math.nan, math.nan)
    assert not reference.compare(1.0, math.nan)


def test_a_module_that_the_package_froze_stays_so_after_an_evaluation(tmp_path):
    made = []

    def build_model(cfg):
        model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 3))
        model[0].eval()
        made.append(model)
        return model

    train(tmp_path, classifier(build_model=build_model), {"epochs": 2})
    assert made[0][0].training is False
    assert made[0][1].training is True


def test_a_hold_is_no_training_time(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: clock.now))

    class HeldOnce:
        def __init__(self):
            self.desired = ["running", "running", "paused", "paused", "running"]

        def poll(self, timeout=0.0):
            if timeout != 0.0:
                clock.now += 1000.0
            return self.desired.pop(0) if len(self.desired) > 1 else self.desired[0]

    config = {"epochs": 1, "batch_size": 50, "max_seconds": 60.0}
    run = runs.Run(tmp_path, config, journal=Notes(), control=HeldOnce())
    for _ in range(4):
        run.should_stop()
        assert not run.time_is_up
