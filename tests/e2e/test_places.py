"""Where a task runs: in another Python, with the client's files in sight, several ranks on one."""

import os
import signal
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import aifarm
from aifarm import Farm, Task
from aifarm.local.farm import LocalFarm
from e2e.conftest import HASTY

SITE = Path(torch.__file__).parents[1]


def make_venv(folder: Path) -> str:
    """A Python of its own that finds torch, and nothing of AI Farm's."""
    venv.create(folder, with_pip=False)
    (library,) = folder.glob("lib/python*/site-packages")
    (library / "torch.pth").write_text(f"{SITE}\n")
    return str(folder / "bin" / "python")


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFarm]:
    """A farm with one agent, which has two environments; a third one is no good."""
    folder = tmp_path_factory.mktemp("farm")
    with LocalFarm(folder, agents=0, server_options=HASTY) as local:
        start_agent(local, make_venv(folder / "lab"))
        yield local


def start_agent(local: LocalFarm, python: str) -> None:
    local.names = ["ws1"]
    options = ("--env", f"lab={python}", "--env", f"empty={local.data_dir}/no/python")
    local.start_agent("ws1", local.data_dir / "agent-token", *options)
    with local.connect() as farm:
        local._await("the agent has joined", lambda: local._all_joined(farm))


@pytest.fixture
def farm(places: LocalFarm) -> Iterator[Farm]:
    with places.connect() as connected:
        yield connected


def script(farm: Farm, source: str, name: str) -> aifarm.Package:
    return farm.publish(source, name=name, kind="script", entry="train.py")


WHERE = """
import importlib.util, sys, time
from pathlib import Path

import aifarm.train as at

run = at.current()
assert sys.prefix == run.config["prefix"], sys.prefix
assert importlib.util.find_spec("aifarm.sdk") is None
assert importlib.util.find_spec("aifarm_agent") is None
for step in run.batches(range(run.config["steps"])):
    time.sleep(0.02)
    run.report(loss=float(step))
"""


def test_a_task_trains_in_the_python_that_it_names(farm: Farm, places: LocalFarm) -> None:
    advertised = {one.name: one for one in farm.client("ws1").environments}
    assert advertised.keys() == {"default", "lab"}
    assert advertised["lab"].torch == advertised["default"].torch == torch.__version__
    said = (places.logs / "ws1.log").read_text()
    assert "The environment empty is left out" in said
    prefix = str(places.data_dir / "lab")
    package = script(farm, WHERE, "where")
    task = farm.submit(
        package=package, environment="lab", config={"prefix": prefix, "steps": 3}
    ).wait(timeout=90)
    assert task.status == "completed", task.info.message
    provenance = task.attempts()[0].provenance["0"]
    assert provenance["torch"] == torch.__version__
    waiting = farm.submit(package=package, environment="jax", config={"prefix": "", "steps": 1})
    (missing,) = waiting.why().clients
    assert missing.reason == "it has no environment jax (it has: default, lab)"
    waiting.stop()


@pytest.mark.slow
def test_a_restarted_agent_finds_the_workers_of_every_environment(
    farm: Farm, places: LocalFarm
) -> None:
    prefix, package = str(places.data_dir / "lab"), script(farm, WHERE, "where")
    config = {"prefix": prefix, "steps": 400}
    task = farm.submit(package=package, environment="lab", config=config)
    until_running(task)
    os.kill(places.agents["ws1"].pid, signal.SIGKILL)
    places.agents["ws1"].wait()
    start_agent(places, f"{prefix}/bin/python")
    task.wait(timeout=90)
    assert (task.status, task.attempt) == ("completed", 1)


def until_running(task: Task) -> None:
    for update in task.watch():
        if update.progress:
            return


READS = """
from pathlib import Path

import aifarm.train as at

text = Path("data/words/one.txt").read_text()
at.current().report(length=len(text))
"""


def test_a_script_sees_what_is_mounted_and_runs_only_where_that_can_be_read(
    farm: Farm, tmp_path: Path
) -> None:
    (tmp_path / "one.txt").write_text("seven..")
    package = script(farm, READS, "reads")
    task = farm.submit(package=package, mounts={"data/words": tmp_path}).wait(timeout=90)
    assert task.metrics_latest["length"] == 7
    missing = tmp_path / "missing"
    waiting = farm.submit(package=package, mounts={"data/words": tmp_path, "more": missing})
    while "not said" in waiting.why().clients[0].reason:
        pass
    assert waiting.why().clients[0].reason == f"it cannot read {missing}"
    waiting.stop()
    with pytest.raises(aifarm.AIFarmError, match="holds another one"):
        farm.submit(package=package, mounts={"data": tmp_path, "data/words": tmp_path})


TORCHRUN = """
import os
import torch
import torch.distributed as dist

rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
assert int(os.environ["LOCAL_RANK"]) == rank
assert os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"] == "2"
assert (os.environ["GROUP_RANK"], os.environ["MASTER_ADDR"]) == ("0", "127.0.0.1")
dist.init_process_group("gloo")
total = torch.tensor([float(rank + 1)])
dist.all_reduce(total)
print("together", total.item(), flush=True)
"""


def test_several_ranks_of_a_task_run_on_one_client(farm: Farm) -> None:
    package = script(farm, TORCHRUN, "torchrun")
    task = farm.submit(package=package, processes_per_client=2, min_cpu_cores=0)
    task.wait(timeout=90)
    assert task.status == "completed", task.info.message
    assert (task.clients, task.info.n_clients) == (["ws1", "ws1"], 1)
    assert (task.info.processes_per_client, task.info.distributed) == (2, True)
    (attempt,) = task.attempts()
    assert [rank.client for rank in attempt.ranks] == ["ws1", "ws1"]
    large = farm.check(package=package, processes_per_client=64, min_cpu_cores=1)
    assert not large.would_start
    assert "1 CPU cores for each of 64 processes" in large.misses[0].reason
