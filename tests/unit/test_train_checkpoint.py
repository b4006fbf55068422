import hashlib
import random
import subprocess
import sys

import numpy
import pytest
import torch
from safetensors.torch import load_file

from aifarm.train import checkpoint

CPU = torch.device("cpu")


def state(value=1.0):
    return {"format": 1, "model": {"w": torch.full((100, 100), value)}, "config": {"a": [1, "b"]}}


def test_what_is_saved_is_loaded_and_hashed(tmp_path):
    written = checkpoint.save(state(), tmp_path / "new", step=120)
    assert written.path == tmp_path / "new" / "step-00000120.pt"
    data = written.path.read_bytes()
    assert (written.size, written.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    loaded = checkpoint.load(written.path)
    assert torch.equal(loaded["model"]["w"], state()["model"]["w"])
    assert loaded["config"] == {"a": [1, "b"]}


def test_a_failed_write_leaves_the_previous_file_and_nothing_else(tmp_path):
    previous = checkpoint.save(state(), tmp_path, step=1).path.read_bytes()

    class Unwilling:
        def __reduce__(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        checkpoint.save({**state(2.0), "late": Unwilling()}, tmp_path, step=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt"]
    assert (tmp_path / "step-00000001.pt").read_bytes() == previous


def test_the_last_of_a_disk_is_left_to_the_outbox(tmp_path, monkeypatch):
    checkpoint.save(state(), tmp_path, step=1)
    monkeypatch.setattr(checkpoint, "LEFT_BYTES", 2**60)
    with pytest.raises(OSError, match="would be left on it"):
        checkpoint.save(state(), tmp_path, step=2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt"]


ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
import torch
from aifarm.train import checkpoint

resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
try:
    checkpoint.save({"format": 1, "model": {"w": torch.zeros(10_000)}}, Path(sys.argv[1]), step=1)
except OSError as error:
    print(error.strerror)
"""


def test_a_disk_that_refuses_is_an_oserror_and_leaves_nothing(tmp_path):
    """In a process of its own: the limit would hold for this one's log, too."""
    command = [sys.executable, "-c", ON_A_FULL_DISK]
    done = subprocess.run([*command, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert list(tmp_path.iterdir()) == []


def test_the_final_weights_are_exported_whole_views_and_tied_ones_too(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3).T
    assert checkpoint.export({"w": weight, "tied": weight}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]
    loaded = load_file(tmp_path / "weights.safetensors")
    assert loaded.keys() == {"w", "tied"}
    assert all(torch.equal(tensor, weight) for tensor in loaded.values())


def test_where_weights_cannot_be_exported_the_log_says_why(tmp_path, monkeypatch, caplog):
    assert not checkpoint.export({"w": torch.zeros(1), "_extra_state": "more"}, tmp_path)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    assert not checkpoint.export({"w": torch.zeros(1)}, tmp_path)
    assert list(tmp_path.iterdir()) == []
    cannot, missing = (record.getMessage() for record in caplog.records)
    assert cannot.startswith("the final weights cannot be written as safetensors: ")
    assert missing.startswith("safetensors is not installed here")


def test_another_format_is_refused(tmp_path):
    torch.save({"format": 2}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="not a checkpoint of format 1"):
        checkpoint.load(tmp_path / "x.pt")


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("boom",)

    torch.save({"format": 1, "model": Evil()}, tmp_path / "x.pt")
    with pytest.raises(Exception, match=r"[Ww]eights.?only"):
        checkpoint.load(tmp_path / "x.pt")


def test_pruning_keeps_the_newest(tmp_path):
    for step in (5, 100, 20):
        checkpoint.save(state(), tmp_path, step)
    checkpoint.prune(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-00000020.pt",
        "step-00000100.pt",
    ]
    assert checkpoint.newest(tmp_path).name == "step-00000100.pt"


def draw():
    return random.random(), numpy.random.normal(), torch.rand(3).tolist()


def test_every_generator_goes_on_where_it_was_saved(tmp_path):
    checkpoint.seed_everything(7)
    draw()
    saved = {"format": 1, "rng": checkpoint.rng_state(CPU)}
    expected = draw(), draw()
    path = checkpoint.save(saved, tmp_path, step=1).path
    checkpoint.seed_everything(8)
    checkpoint.restore_rng(checkpoint.load(path)["rng"], CPU)
    assert (draw(), draw()) == expected
