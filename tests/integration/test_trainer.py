"""Workers forked from a real warm process: control, failures, gangs."""

import os
import signal
import textwrap

import pytest
import torch

from warm import DIGITS

SOURCE = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

def build_model(cfg):
    return nn.Linear(2, 2)

def build_data(cfg):
    return TensorDataset(torch.randn(48, 2), torch.zeros(48, dtype=torch.long))
"""
ENDLESS = {"epochs": 10_000_000, "batch_size": 12}


@pytest.fixture
def package(tmp_path):
    """Writes a package: SOURCE with some functions replaced."""

    def write(more="", source=SOURCE):
        folder = tmp_path / "package"
        folder.mkdir()
        (folder / "model.py").write_text(source + textwrap.dedent(more))
        return folder

    return write


def test_digits_are_read_after_ten_epochs(warm):
    folder = warm.start(DIGITS, {"epochs": 10})
    last, _ = folder.wait_for_end()
    assert last["metrics"]["final_accuracy"] >= 0.97
    steps = [step for step, _, metrics in folder.points if "loss" in metrics]
    assert steps == list(range(1, 441))
    final = folder.of("checkpoint")[-1]
    assert final["final"] is True
    state = torch.load(final["path"], weights_only=True)
    assert state["position"] == {"epoch": 10, "batch": 0, "step": 440}
    assert final["progress"] == folder.of("points")[-1]["progress"] == 100.0


def test_steps_stop_while_paused_and_go_on_when_resumed(warm, package):
    folder = warm.start(package(), ENDLESS)
    folder.wait_for_step(10)
    folder.desire("paused")
    held_at = folder.wait_for("paused")["step"]
    folder.desire("paused")  # repeats change nothing
    folder.desire("running")
    assert folder.wait_for("running")["step"] == held_at
    folder.wait_for_step(held_at + 10)
    folder.desire("stopped")
    last, exit_line = folder.wait_for_end()
    held = folder.lines.index({"type": "paused", "step": held_at})
    assert folder.lines[held + 1] == {"type": "running", "step": held_at}
    checkpoint = folder.of("checkpoint")[-1]
    assert last == {"type": "stopped", "step": checkpoint["step"]}
    assert checkpoint["final"] is False
    assert exit_line["code"] == 0
    steps = [step for step, _, _ in folder.points]
    assert steps == list(range(1, last["step"] + 1))


def test_a_task_that_starts_paused_makes_no_step(warm, package):
    folder = warm.start(package(), ENDLESS, desired="paused")
    assert folder.wait_for("paused")["step"] == 0
    folder.desire("stopped")
    last, _ = folder.wait_for_end()
    assert last == {"type": "stopped", "step": 0}
    assert folder.points == []


FAILURES = {
    "import": (
        "import af_not_here\n",
        "package_invalid",
        "model.py does not import: No module named 'af_not_here' (line 11)",
    ),
    "build": (
        "def build_model(cfg):\n    return cfg['depth']\n",
        "user_error",
        "build_model failed: KeyError 'depth' (model.py line 12)",
    ),
    "forward": (
        """\
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(65, 10)

            def forward(self, x):
                return self.layer(x)

        def build_model(cfg):
            return Model()
        """,
        "user_error",
        "the forward pass failed: mat1 and mat2 shapes cannot be multiplied (12x2 and 65x10) "
        "(model.py line 17)",
    ),
    "exit": (
        "def build_data(cfg):\n    raise SystemExit('no data here')\n",
        "user_error",
        "build_data failed: it called sys.exit(no data here) (model.py line 12)",
    ),
    "memory": (
        "def loss(out, batch):\n    return out.sum() + torch.empty(2**48)[0]\n",
        "out_of_memory",
        "out of memory in the loss: ",
    ),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failure_is_one_sentence_with_its_cause(warm, package, kind):
    more, cause, message = FAILURES[kind]
    folder = warm.start(package(more), ENDLESS)
    last, exit_line = folder.wait_for_end()
    assert (last["type"], last["cause"]) == ("failed", cause)
    assert last["message"].startswith(message)
    assert "\n" not in last["message"]
    assert last["traceback"].startswith("Traceback")
    assert last["traceback"] in folder.log
    assert exit_line["code"] == 1


def test_a_kind_that_is_unknown_is_refused(warm, package):
    last, _ = warm.start(package(), {}, kind="riddle").wait_for_end()
    assert last["cause"] == "package_invalid"
    assert last["message"] == "packages of kind 'riddle' cannot be trained"


def test_the_package_can_speak_to_its_run(warm, package):
    source = """
    import aifarm.train

    def metrics(out, batch):
        run = aifarm.train.current()
        return {"own": run.config["own_key"] + run.step}
    """
    folder = warm.start(package(source), {"epochs": 1, "batch_size": 12, "own_key": 100})
    folder.wait_for_end()
    assert [metrics["own"] for _, _, metrics in folder.points] == [100, 101, 102, 103]


def test_metrics_that_are_no_numbers_in_json_arrive(warm, package):
    folder = warm.start(
        package("def loss(out, batch):\n    return out.sum() * float('nan')\n"),
        {"epochs": 1, "batch_size": 48},
    )
    last, _ = folder.wait_for_end()
    assert folder.points[0][2]["loss"] is None
    assert last["metrics"]["final_loss"] == "nan"


def test_threads_of_the_worker_compute(warm, package):
    """The pool of a forked process is its own: it must not wait for threads of the parent."""
    source = """
    def build_model(cfg):
        torch.randn(500, 500) @ torch.randn(500, 500)
        return nn.Linear(2, 2)
    """
    folder = warm.start(package(source), {"epochs": 1}, env={"OMP_NUM_THREADS": "2"})
    assert folder.wait_for_end()[0]["type"] == "finished"


def test_three_ranks_train_one_model(warm):
    gang = warm.start_gang(3, DIGITS, {"epochs": 3})
    ends = [folder.wait_for_end() for folder in gang]
    assert [last["type"] for last, _ in ends] == ["finished"] * 3
    assert [exit_line["code"] for _, exit_line in ends] == [0] * 3
    accuracies = {last["metrics"]["final_accuracy"] for last, _ in ends}
    assert len(accuracies) == 1
    assert accuracies.pop() > 0.9
    assert len([p for p in gang[0].points if "loss" in p[2]]) == 132
    for follower in gang[1:]:
        assert 1 <= len(follower.points) < 30
        assert follower.of("checkpoint") == []
        assert follower.checkpoints == []
    state = torch.load(gang[0].of("checkpoint")[-1]["path"], weights_only=True)
    assert not any(name.startswith("module.") for name in state["model"])
    assert len(state["rng"]) == 3


def test_a_gang_learns_what_one_rank_learns(warm):
    config = {"epochs": 1, "batch_size": 30}
    single = warm.start(DIGITS, config)
    gang = warm.start_gang(3, DIGITS, config)
    models = []
    for folder in (single, gang[0]):
        folder.wait_for_end()
        path = folder.of("checkpoint")[-1]["path"]
        models.append(torch.load(path, weights_only=True)["model"])
    for name, value in models[0].items():
        torch.testing.assert_close(models[1][name], value, rtol=1e-3, atol=1e-4)


def test_a_gang_pauses_and_stops_at_one_step(warm, package):
    gang = warm.start_gang(3, package(), ENDLESS)
    gang[0].wait_for_step(5)
    gang[2].desire("paused")  # told to one, obeyed by all
    assert len({folder.wait_for("paused")["step"] for folder in gang}) == 1
    gang[2].desire("running")
    resumed_at = {folder.wait_for("running")["step"] for folder in gang}
    assert len(resumed_at) == 1
    gang[0].wait_for_step(resumed_at.pop() + 5)
    for folder in gang:
        folder.desire("stopped")
    lasts = [folder.wait_for_end()[0] for folder in gang]
    assert {last["type"] for last in lasts} == {"stopped"}
    assert {last["step"] for last in lasts} == {gang[0].of("checkpoint")[-1]["step"]}


@pytest.mark.parametrize("victim", [0, 2])
def test_the_death_of_a_rank_is_not_blamed_on_the_code_of_the_others(warm, package, victim):
    gang = warm.start_gang(3, package(), ENDLESS)
    gang[0].wait_for_step(5)
    os.kill(gang[victim].spawned["pid"], signal.SIGKILL)
    for rank, folder in enumerate(gang):
        last, exit_line = folder.wait_for_end()
        if rank == victim:
            assert exit_line["signal"] == signal.SIGKILL
        else:
            assert last["cause"] == "peers_lost"
            assert last["message"] == f"rank {rank} lost contact with its peers"


def test_a_rank_whose_code_fails_is_blamed_alone(warm, package):
    source = """
    import os

    def metrics(out, batch):
        return {"x": 1 / (int(os.environ["RANK"]) - 1)}
    """
    gang = warm.start_gang(3, package(source), ENDLESS)
    lasts = [folder.wait_for_end()[0] for folder in gang]
    assert [last["cause"] for last in lasts] == ["peers_lost", "user_error", "peers_lost"]


def test_a_rank_that_cannot_reach_rank_0_says_where_it_looked(warm, package):
    folder = warm.start(
        package(),
        ENDLESS,
        rank=1,
        world_size=2,
        env={"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"},
    )
    last, _ = folder.wait_for_end()
    assert last["cause"] == "agent_lost"
    assert last["message"].startswith("rank 1 cannot reach rank 0 at 127.0.0.1:1: ")
