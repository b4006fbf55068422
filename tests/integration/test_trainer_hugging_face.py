"""The callback for the Hugging Face Trainer, with the real library and a tiny network."""

import json

import torch
import transformers

from aifarm.train.hf import FarmCallback, latest
from aifarm.train.run import Run
from train_world import Notes, StopAt


class Line(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        x = torch.tensor([index / 64])
        return {"x": x, "labels": 2 * x}


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, x, labels):
        out = self.layer(x)
        return {"loss": torch.nn.functional.mse_loss(out, labels), "logits": out}


def trainer(folder, run, **options):
    torch.manual_seed(0)
    arguments = transformers.TrainingArguments(
        output_dir=str(folder / "out"),
        num_train_epochs=4,
        per_device_train_batch_size=8,
        logging_steps=4,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        learning_rate=0.1,
        **options,
    )
    return transformers.Trainer(
        Tiny(), arguments, train_dataset=Line(), callbacks=[FarmCallback(run)]
    )


def test_logs_become_curves_with_the_trainers_steps_and_progress(tmp_path):
    notes = Notes()
    trainer(tmp_path, Run(tmp_path, {}, journal=notes)).train()
    losses = [(step, progress) for step, metrics, progress in notes.points if "loss" in metrics]
    assert losses == [(step, 100.0 * step / 32) for step in range(4, 33, 4)]
    assert (tmp_path / "attends").exists()


def test_it_saves_when_the_farm_wants_a_checkpoint(tmp_path):
    run = Run(tmp_path, {"checkpoint_steps": 10})
    trainer(tmp_path, run).train()
    saved = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert saved == ["checkpoint-10", "checkpoint-20", "checkpoint-30"]


def test_stopped_and_resumed_it_ends_as_if_nothing_had_been(tmp_path):
    whole = trainer(tmp_path / "a", Run(tmp_path, {}))
    whole.train()

    control = StopAt(1)
    run = Run(tmp_path, {}, control=control)
    first = trainer(tmp_path / "b", run)
    control.left = 0  # at the first look
    first.train()
    assert run.stopping
    stopped_at = latest(tmp_path / "b" / "out")
    state = json.loads((tmp_path / "b" / "out" / stopped_at / "trainer_state.json").read_text())
    assert 0 < state["global_step"] < 32

    second = trainer(tmp_path / "b", Run(tmp_path, {}))
    second.train(resume_from_checkpoint=stopped_at)
    for ours, theirs in zip(second.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_checkpoint_that_was_cut_is_not_the_latest(tmp_path):
    assert latest(tmp_path / "nothing") is None
    for step in (9, 10, 11):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (9, 10):
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").touch()
    assert latest(tmp_path) == str(tmp_path / "checkpoint-10")
