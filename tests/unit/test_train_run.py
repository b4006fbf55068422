import ast
import logging
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import aifarm.train
from aifarm.train import checkpoint as checkpoints
from aifarm.train import run as runs
from aifarm.train.checkpoint import load
from aifarm.train.distributed import HostError
from aifarm.train.run import Run
from train_world import Notes

SOURCES = sorted(Path(aifarm.train.__file__).parent.glob("*.py"))


class Script:
    """A control that desires one state after the other, the last one for ever."""

    def __init__(self, *desired):
        self.desired = list(desired)

    def poll(self, timeout=0.0):
        return self.desired.pop(0) if len(self.desired) > 1 else self.desired[0]


@pytest.fixture(autouse=True)
def _look_at_each_boundary(monkeypatch):
    monkeypatch.setattr(runs, "ALONE_SECONDS", 0.0)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_runtime_is_python_3_9_and_imports_only_the_standard_library_and_itself(source):
    allowed = {*sys.stdlib_module_names, "aifarm.train"}
    if source.name == "hf.py":  # a part for those who have it
        allowed.add("transformers")
    tree = ast.parse(source.read_text(), feature_version=(3, 9))
    for node in tree.body:
        if isinstance(node, ast.Import):
            assert {alias.name.partition(".")[0] for alias in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom):
            ours = node.module.startswith("aifarm.train")
            assert ours or node.module.partition(".")[0] in allowed
    lazily = {
        alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert lazily <= {*sys.stdlib_module_names, "torch", "safetensors"}


def test_importing_it_loads_no_torch():
    code = "import aifarm.train, sys; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_off_the_farm_the_current_run_works_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runs, "_current", None)
    run = aifarm.train.current()
    assert run is aifarm.train.current()
    assert (run.config, run.rank, run.world_size) == ({}, 0, 1)
    assert run.device.type in ("cpu", "cuda")
    assert run.latest_checkpoint() is None
    run.report(loss=0.5)
    run.report(loss=0.25, accuracy=torch.tensor(0.75))
    assert (run.step, run.metrics) == (2, {"loss": 0.25, "accuracy": 0.75})
    assert run.should_stop() is False
    run.checkpoint({"format": 1, "w": torch.ones(2)})
    path = run.latest_checkpoint()
    assert path.parent == Path("aifarm-run/checkpoints")
    assert run.data_dir == Path("aifarm-run/data").absolute()
    assert torch.equal(load(path)["w"], torch.ones(2))


def test_a_report_never_raises(tmp_path, caplog):
    run = Run(tmp_path, {}, journal=Notes())
    with caplog.at_level(logging.WARNING):
        run.report(loss="high")
        run.report(step="first", loss=1.0)
        run.report(loss=torch.ones(3))
    assert len(caplog.records) == 3
    run.report(loss=1.0)
    assert run.metrics == {"loss": 1.0}


def test_a_reported_tensor_is_read_at_once(tmp_path):
    notes = Notes()
    run = Run(tmp_path, {}, journal=notes)
    loss = torch.ones(1, requires_grad=True).sum()
    run.report(loss=loss, progress=50)
    loss.detach().add_(1.0)
    assert notes.points == [(1, {"loss": 1.0}, 50.0)]


def test_a_checkpoint_is_told_with_what_the_agent_needs(tmp_path):
    notes = Notes()
    run = Run(tmp_path, {}, journal=notes)
    run.report(step=7, progress=70.0, loss=0.5)
    run.checkpoint({"format": 1}, epoch=2, final=True)
    (line,) = notes.lines
    path = Path(line["path"])
    assert path == tmp_path / "checkpoints" / "step-00000007.pt"
    assert line["size"] == path.stat().st_size
    assert len(line.pop("sha256")) == 64
    assert line == {
        "type": "checkpoint",
        "path": str(path),
        "step": 7,
        "epoch": 2,
        "progress": 70.0,
        "metrics": {"loss": 0.5},
        "final": True,
        "best": False,
        "size": line["size"],
    }


def test_the_newest_checkpoints_are_kept(tmp_path):
    run = Run(tmp_path, {}, journal=Notes(), keep_checkpoints=2, resume="/elsewhere/x.pt")
    assert run.latest_checkpoint() == Path("/elsewhere/x.pt")
    for step in range(5):
        run.report(step=step)
        run.checkpoint({"format": 1})
    run.settle()
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000003.pt", "step-00000004.pt"]
    assert run.latest_checkpoint().name == "step-00000004.pt"


def test_a_disk_that_refuses_a_checkpoint_stops_only_the_final_one(tmp_path, caplog):
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    notes = Notes()
    run = Run(tmp_path, {}, journal=notes)
    run.checkpoint({"format": 1}, wait=True)
    assert "the checkpoint of step 0 cannot be written" in caplog.text
    (told,) = notes.lines
    assert (told["type"], told["step"]) == ("checkpoint_failed", 0)
    assert "File exists" in told["reason"]
    with pytest.raises(HostError, match="the final checkpoint cannot be written"):
        run.checkpoint({"format": 1}, final=True)


def test_pause_and_resume_are_obeyed_and_observed(tmp_path):
    notes = Notes()
    script = Script("running", "paused", "paused", "paused", "running", "running", "stopped")
    began = time.monotonic()
    run = Run(tmp_path, {}, journal=notes, control=script)
    run.report(step=1)
    assert run.should_stop() is False
    run.report(step=2)
    assert run.should_stop() is False  # held here until the next "running"
    run.report(step=3)
    assert run.should_stop() is True
    assert notes.lines == [
        {"type": "running", "step": 1},
        {"type": "paused", "step": 2},
        {"type": "running", "step": 2},
    ]
    assert run.training_seconds < time.monotonic() - began


def test_a_held_run_can_be_stopped(tmp_path):
    run = Run(tmp_path, {}, journal=Notes(), control=Script("paused", "paused", "stopped"))
    assert run.should_stop() is True


def test_checkpoints_are_due_by_time_and_at_the_end_of_epochs_that_are_not_short(
    tmp_path, monkeypatch
):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: clock.now))
    run = Run(tmp_path, {}, checkpoint_seconds=300)
    run.should_stop()
    assert not run.checkpoint_due()
    assert not run.checkpoint_due(epoch_end=True)
    clock.now = 2
    run.should_stop()
    assert run.checkpoint_due(epoch_end=True)
    assert not run.checkpoint_due()
    clock.now = 300
    run.should_stop()
    assert run.checkpoint_due()
    run.checkpoint({"format": 1})
    assert not run.checkpoint_due(epoch_end=True)


def test_the_best_checkpoint_is_kept_beside_the_newest(tmp_path):
    run = Run(tmp_path, {}, journal=Notes(), keep_checkpoints=2)
    for step in range(1, 6):
        run.report(step=step)
        run.checkpoint({"format": 1}, best=step == 2)
    run.settle()
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000002.pt", "step-00000004.pt", "step-00000005.pt"]


def test_training_goes_on_while_a_checkpoint_is_written_and_never_two_at_once(
    tmp_path, monkeypatch
):
    begun, go_on = threading.Event(), threading.Event()
    save = checkpoints.save

    def slow(state, folder, step):
        begun.set()
        assert go_on.wait(60)
        return save(state, folder, step)

    monkeypatch.setattr(checkpoints, "save", slow)
    notes = Notes()
    run = Run(tmp_path, {"checkpoint_seconds": 0}, journal=notes)
    weights = torch.ones(2)
    run.report(step=1)
    run.checkpoint({"format": 1, "w": weights})
    assert begun.wait(60)
    weights += 1  # the training goes on; the copy does not
    run.should_stop()
    assert not run.checkpoint_due()
    assert [line["type"] for line in notes.lines] == ["running"]
    go_on.set()
    run.settle()
    assert torch.equal(load(notes.lines[-1]["path"])["w"], torch.ones(2))
    run.should_stop()
    assert run.checkpoint_due()


def test_checkpoints_are_due_after_so_many_steps(tmp_path):
    run = Run(tmp_path, {"checkpoint_steps": 3}, journal=Notes())
    due = []
    for step in range(1, 8):
        run.report(step=step)
        if run.checkpoint_due():
            due.append(step)
            run.checkpoint({"format": 1})
    assert due == [3, 6]
