"""The script door in this process: the loop of a script, interrupted anywhere."""

import hashlib
import random
from types import SimpleNamespace

import numpy
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, WeightedRandomSampler

import aifarm.train
from aifarm.train import checkpoint
from aifarm.train import run as runs
from aifarm.train.loop import Stopped
from aifarm.train.run import Run
from train_world import Notes, Shaken, StopAt


@pytest.fixture(autouse=True)
def _look_at_each_boundary(monkeypatch):
    monkeypatch.setattr(runs, "ALONE_SECONDS", 0.0)


class Stream(IterableDataset):
    def __iter__(self):
        data = Shaken(40)
        return (data[index] for index in range(40))


def own_generator(data):
    return DataLoader(data, 8, shuffle=True, generator=torch.Generator().manual_seed(3))


LOADERS = {
    "in order": lambda data: DataLoader(data, 8),
    "shuffled": lambda data: DataLoader(data, 8, shuffle=True, drop_last=True),
    "own generator": own_generator,
    "own generator, workers": lambda data: DataLoader(
        data, 8, shuffle=True, generator=torch.Generator().manual_seed(3), num_workers=2
    ),
    "weighted": lambda data: DataLoader(
        data, 8, sampler=WeightedRandomSampler([1.0 + i % 3 for i in range(40)], 40)
    ),
    "workers": lambda data: DataLoader(data, 8, shuffle=True, num_workers=2),
    "single items": lambda data: DataLoader(data, batch_size=None, shuffle=True, num_workers=2),
    "stream": lambda data: DataLoader(Stream(), 8),
}


def script(run, loader, accumulation=1, epochs=3):
    """What a researcher writes, with dropout, momentum and a schedule."""
    random.seed(1)
    numpy.random.seed(1)
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(2, 16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 3))
    opt = torch.optim.AdamW(model.parameters(), lr=0.01)
    sched = torch.optim.lr_scheduler.StepLR(opt, 1, gamma=0.8)
    run.track(model=model, opt=opt, sched=sched)
    for epoch in run.epochs(epochs):
        for points, labels in run.batches(loader, accumulation):
            out = model(torch.atleast_2d(points))
            loss = nn.functional.cross_entropy(out, labels.reshape(-1))
            (loss / accumulation).backward()
            if run.step % accumulation == 0:
                opt.step()
                opt.zero_grad()
            run.report(loss=loss, epoch=epoch)
        sched.step()
        run.report(noise=random.random() + numpy.random.normal())
    run.finish()
    return hashlib.sha256(
        b"".join(value.numpy().tobytes() for value in model.state_dict().values())
    ).hexdigest()


def interrupted(folder, loader, boundaries, **options):
    """Runs the script anew after each stop; the end's digest and journals."""
    resume, journals = None, []
    for number, boundary in enumerate([*boundaries, 10**9]):
        notes = Notes()
        run = Run(folder / str(number), {}, notes, StopAt(boundary), resume=resume)
        journals.append(notes)
        try:
            return script(run, loader(Shaken(40)), **options), journals
        except Stopped:
            resume = notes.written[-1]["path"]
    raise AssertionError("it never ended")


@pytest.mark.parametrize("kind", LOADERS)
def test_stopped_and_resumed_gives_the_same_bits(tmp_path, kind):
    expected, (whole,) = interrupted(tmp_path / "whole", LOADERS[kind], [])
    # In the middle of an epoch, at its end, and after its last batch.
    for boundaries in ([3], [6], [5, 4], [1, 7]):
        folder = tmp_path / "-".join(map(str, boundaries))
        found, journals = interrupted(folder, LOADERS[kind], boundaries)
        assert found == expected
        noise = [value for notes in journals for value in notes.series("noise")]
        assert noise == whole.series("noise")
        steps = [
            step for notes in journals for step, metrics, _ in notes.points if "loss" in metrics
        ]
        assert steps == [step for step, metrics, _ in whole.points if "loss" in metrics]


def test_it_is_never_left_while_gradients_wait_for_the_optimizer(tmp_path):
    def loader(data):
        return DataLoader(data, 10, shuffle=True)

    expected, _ = interrupted(tmp_path / "whole", loader, [], accumulation=2)
    for boundary in (1, 2, 3):
        folder = tmp_path / str(boundary)
        found, journals = interrupted(folder, loader, [boundary], accumulation=2)
        assert found == expected
        assert checkpoint.load(journals[0].written[-1]["path"])["position"]["batch"] % 2 == 0


def test_any_checkpoint_of_a_lost_attempt_leads_to_the_same_bits(tmp_path):
    loader = LOADERS["workers"]
    notes = Notes()
    run = Run(tmp_path / "a", {"checkpoint_steps": 1}, notes, keep_checkpoints=100)
    expected = script(run, loader(Shaken(40)))
    paths = [line["path"] for line in notes.lines if line["type"] == "checkpoint"]
    for number, path in enumerate(paths[1:-1:5]):
        again = Run(tmp_path / str(number), {}, Notes(), resume=path)
        assert script(again, loader(Shaken(40))) == expected


def test_progress_counts_the_batches_of_all_epochs(tmp_path):
    _, (notes,) = interrupted(tmp_path, LOADERS["in order"], [], epochs=2)
    progress = [percent for _, metrics, percent in notes.points if "loss" in metrics]
    assert progress == pytest.approx([10.0 * n for n in range(1, 11)])
    assert notes.written[-1]["final"] is True
    assert notes.written[-1]["progress"] == 100.0


def test_the_best_epoch_is_kept(tmp_path):
    scores = [0.1, 0.9, 0.3, 0.2, 0.1]
    notes = Notes()
    run = Run(tmp_path, {}, notes)
    run.track(model=nn.Linear(1, 1), best={"metric": "score", "mode": "max"})
    for epoch in run.epochs(5):
        run.report(score=scores[epoch])
    run.finish()
    assert [line["step"] for line in notes.lines if line.get("best")] == [1, 2]
    assert (tmp_path / "checkpoints" / "step-00000002.pt").exists()


def test_off_the_farm_a_script_goes_on_where_it_was_left(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    seen = []
    for _ in range(2):
        monkeypatch.setattr(runs, "_current", None)
        run = aifarm.train.current()
        model = nn.Linear(1, 1)
        run.track(model=model)
        assert model.weight.item() == pytest.approx(7.0) or not seen
        for epoch in run.epochs(len(seen) + 2):
            seen.append(epoch)
            with torch.no_grad():
                model.weight.fill_(7.0)
            run.report(loss=1.0)
    assert seen == [0, 1, 2, 3]
    assert "Resumed at step 2, from aifarm-run/checkpoints/step-00000002.pt." in (
        capsys.readouterr().out
    )


def test_what_has_no_state_is_refused_by_name(tmp_path):
    run = Run(tmp_path, {})
    with pytest.raises(TypeError, match="lr is a float, which has no state_dict"):
        run.track(lr=0.1)


def test_what_was_not_tracked_then_is_named(tmp_path):
    first = Run(tmp_path, {})
    first.track(model=nn.Linear(1, 1))
    first.finish()
    with pytest.raises(ValueError, match="the checkpoint has no opt"):
        Run(tmp_path, {}).track(opt=SimpleNamespace(state_dict=dict, load_state_dict=dict))
