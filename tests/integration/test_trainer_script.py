"""The script door under a real warm process: progress, pause, failures, and the same bits."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SOURCE = """
import argparse
import random

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler

import aifarm.train as at
from parts import PARTS

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--workers", type=int, default=0)
args = parser.parse_args()


class Shaken(Dataset):
    def __len__(self):
        return 48

    def __getitem__(self, index):
        point = torch.randn(4, generator=torch.Generator().manual_seed(index))
        return point + 0.1 * torch.randn(4) + 0.1 * random.random(), int(point.sum() > 0)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Sequential(nn.Dropout(0.2), nn.ReLU(), nn.Linear(32, PARTS))
        self.middle = nn.ModuleList([nn.Linear(32, 32) for _ in range(4)])
        self.first = nn.Linear(4, 32)

    def forward(self, points):  # not in the order in which DDP first knows them
        out = self.first(points)
        for part in (2, 0, 3, 1):
            out = self.middle[part](out)
        return self.last(out)


random.seed(2)
torch.manual_seed(2)
run = at.current()
net = Net()
opt = torch.optim.AdamW(net.parameters(), lr=0.01)
run.track(model=net, opt=opt)
model = run.parallel(net)
data = Shaken()
sampler = DistributedSampler(data, run.world_size, run.rank)
loader = DataLoader(data, 4, sampler=sampler, num_workers=args.workers)
for epoch in run.epochs(args.epochs):
    sampler.set_epoch(epoch)
    for points, labels in run.batches(loader):
        loss = nn.functional.cross_entropy(model(points), labels)
        opt.zero_grad()
        loss.backward()
        opt.step()
        run.report(loss=loss)
open("done.txt", "w").write("in a folder of its own")
"""
SLOW = pytest.mark.slow
EXAMPLE = Path(__file__).parents[2] / "examples" / "script"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    (folder / "train.py").write_text(SOURCE)
    (folder / "parts.py").write_text("PARTS = 2\n")
    return folder


def start(warm, package, world_size=1, args=(), **task):
    task = {"kind": "script", "entry": "train.py", "args": list(map(str, args)), **task}
    config = task.pop("config", {})
    if world_size == 1:
        return [warm.start(package, config, **task)]
    return warm.start_gang(world_size, package, config, **task)


def finish(ranks):
    for folder in ranks:
        last, _ = folder.wait_for_end()
        assert last["type"] == "finished", last
    final = ranks[0].of("checkpoint")[-1]
    assert final["final"] is True
    model = torch.load(final["path"], weights_only=True)["model"]
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in model.values())).hexdigest()


@pytest.mark.parametrize(
    ("world_size", "workers"),
    [
        (1, 0),
        (2, 0),
        (1, 2),
        *(pytest.param(*more, marks=SLOW) for more in ((2, 2), (3, 0), (3, 2))),
    ],
)
def test_held_stopped_and_then_killed_it_ends_in_the_same_bits(warm, package, world_size, workers):
    # Long enough that it is still training when the stop arrives.
    args = ["--workers", workers, "--epochs", 12 if workers else 60]
    whole = finish(start(warm, package, world_size, args))

    ranks = start(warm, package, world_size, args)
    ranks[0].wait_for_step(5)
    for folder in ranks:
        folder.desire("paused")
    assert len({folder.wait_for("paused")["step"] for folder in ranks}) == 1
    for folder in ranks:
        folder.desire("running")
    ranks[0].wait_for("running")
    for folder in ranks:
        folder.desire("stopped")
    assert {folder.wait_for_end()[0]["type"] for folder in ranks} == {"stopped"}
    saved = ranks[0].of("checkpoint")[-1]

    config = {"checkpoint_steps": 1}
    ranks = start(warm, package, world_size, args, resume=saved["path"], config=config)
    ranks[0].wait_for("checkpoint", lambda line: line["step"] >= saved["step"] + 2)
    for folder in ranks:
        os.kill(folder.spawned["pid"], signal.SIGKILL)
    for folder in ranks:
        folder.wait_for_end()
    saved = ranks[0].of("checkpoint")[-1]

    ranks = start(warm, package, world_size, args, resume=saved["path"])
    assert finish(ranks) == whole
    assert ranks[0].points[0][0] == saved["step"] + 1


def test_a_script_runs_in_a_folder_of_its_own_with_progress_and_pause(warm, package):
    (folder,) = start(warm, package, args=["--epochs", 100_000])
    folder.wait_for_step(3)
    folder.desire("paused")
    held_at = folder.wait_for("paused")["step"]
    folder.desire("running")
    assert folder.wait_for("running")["step"] == held_at
    folder.desire("stopped")
    last, exit_line = folder.wait_for_end()
    assert (last["type"], exit_line["code"]) == ("stopped", 0)
    (folder,) = start(warm, package, args=["--epochs", 1])
    last, _ = folder.wait_for_end()
    assert last["metrics"].keys() == {"loss"}
    assert folder.of("points")[-1]["progress"] == 100.0
    assert (folder.path / "work" / "done.txt").exists()
    assert sorted(path.name for path in package.iterdir()) == ["parts.py", "train.py"]
    started = folder.of("started")[0]
    assert started["provenance"]["argv"][1:] == ["train.py", "--epochs", "1"]


def test_a_loop_of_its_own_that_obeys_a_stop_is_stopped_not_finished(warm, tmp_path):
    source = """
import aifarm.train

run = aifarm.train.current()
step = 0
while not run.should_stop():
    step += 1
    run.report(step=step, loss=1.0)
run.checkpoint({"model": {}, "step": step}, wait=True)
"""
    (tmp_path / "train.py").write_text(source)
    (folder,) = start(warm, tmp_path)
    folder.wait_for_step(1)
    folder.desire("stopped")
    last, exit_line = folder.wait_for_end()
    assert (last["type"], exit_line["code"]) == ("stopped", 0)
    assert folder.of("checkpoint")[-1]["step"] == last["step"]


def test_a_model_may_leave_parameters_unused_where_the_script_says_so(warm, package, tmp_path):
    source = SOURCE.replace("for part in (2, 0, 3, 1):", "for part in random.sample(range(4), 2):")
    (tmp_path / "parts.py").write_text("PARTS = 2\n")
    (tmp_path / "train.py").write_text(source)
    last, _ = start(warm, tmp_path, 2, args=["--epochs", 2])[0].wait_for_end()
    assert (last["type"], last["cause"]) == ("failed", "user_error")
    assert "find_unused_parameters=True" in last["message"]

    told = source.replace("run.parallel(net)", "run.parallel(net, find_unused_parameters=True)")
    (tmp_path / "train.py").write_text(told)
    finish(start(warm, tmp_path, 2, args=["--epochs", 2]))


@pytest.mark.parametrize("compress", [False, True])
def test_a_gang_of_scripts_says_what_a_step_costs(warm, package, tmp_path, compress):
    source = SOURCE.replace("run.parallel(net)", f"run.parallel(net, compress={compress})")
    (tmp_path / "train.py").write_text(source)
    (tmp_path / "parts.py").write_text("PARTS = 2\n")
    ranks = start(warm, tmp_path, 2, args=["--epochs", 60])
    finish(ranks)
    (measured,) = ranks[0].of("measured")
    trained = (4 * 32 + 32 + 4 * (32 * 32 + 32) + 32 * 2 + 2) * (2 if compress else 4) / 2**20
    assert measured["gradients"] == pytest.approx(trained, rel=0.01)
    assert not ranks[1].of("measured")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise ValueError('no such data')", "the script failed: no such data (train.py line 1)"),
        ("import sys; sys.exit(3)", "train.py ended with exit status 3"),
    ],
)
def test_a_script_that_fails_is_told_in_a_sentence(warm, tmp_path, source, message):
    (tmp_path / "train.py").write_text(source)
    (folder,) = start(warm, tmp_path)
    last, _ = folder.wait_for_end()
    assert (last["type"], last["cause"], last["message"]) == ("failed", "user_error", message)


@pytest.mark.parametrize("world_size", [1, 2])
def test_a_script_without_a_line_of_ours_runs_as_it_is(warm, tmp_path, world_size):
    source = """
import os
import sys
import torch.distributed as dist

if __name__ == "__main__":
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        dist.init_process_group("gloo")
        dist.barrier()
    print("ran as", sys.argv, flush=True)
    sys.exit(0)
"""
    (tmp_path / "train.py").write_text(source)
    for folder in start(warm, tmp_path, world_size, args=["--lr", 0.1]):
        last, _ = folder.wait_for_end()
        assert last == {"type": "finished", "metrics": {}}
        assert "train.py', '--lr', '0.1']" in folder.log


def test_the_example_learns_on_the_farm(warm):
    (folder,) = start(warm, EXAMPLE)
    last, _ = folder.wait_for_end()
    assert last["type"] == "finished", folder.log
    assert last["metrics"]["accuracy"] > 0.85
    assert any(line["best"] for line in folder.of("checkpoint"))


@SLOW
def test_the_example_is_a_program_of_its_own_that_resumes(tmp_path):
    def train(epochs):
        command = [sys.executable, EXAMPLE / "train.py", "--epochs", str(epochs)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout

    assert train(2).count("accuracy") == 2
    resumed = train(3)
    assert "Resumed at step 88" in resumed
    assert resumed.count("accuracy") == 1


def test_the_loop_of_the_how_to_runs(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "how-to" / "bring-your-own-loop.md"
    source = page.read_text().partition("```python\n")[2].partition("```")[0]
    (tmp_path / "train.py").write_text(source)
    subprocess.run([sys.executable, "train.py"], cwd=tmp_path, check=True)
    (final,) = (tmp_path / "aifarm-run" / "checkpoints").glob("step-00000160.pt")
    assert torch.load(final, weights_only=True)["metrics"]["loss"] < 0.01
