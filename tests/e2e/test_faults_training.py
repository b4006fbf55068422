"""What dies, freezes, fills up or is damaged while a model is trained, with real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from aifarm import Farm, Task
from aifarm.local.farm import LocalFarm
from e2e.packages import SLOW
from e2e.test_faults import kill_tree, steps, story, until_checkpoint

pytestmark = pytest.mark.slow

EPOCHS, STEPS = 12, 12 * 10
HASTY = ("--lease", "3", "--heartbeat", "0.5", "--reattach", "8")
LEASE = 3.0


@pytest.fixture
def three(tmp_path: Path) -> Iterator[LocalFarm]:
    with LocalFarm(tmp_path / "farm", agents=3, port=None, server_options=HASTY) as farm:
        yield farm


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[LocalFarm]:
    """A farm with one agent, so that nobody else can take over."""
    with LocalFarm(tmp_path / "farm", agents=1, port=None, server_options=HASTY) as farm:
        yield farm


def submit(farm: Farm, clients: int = 1, seconds: float = 0.06) -> Task:
    package = farm.publish(SLOW, name="slow")
    return farm.submit(
        package=package,
        epochs=EPOCHS,
        batch_size=2 * clients,
        n_clients=clients,
        distributed=clients > 1,
        max_retries=1,
        config={"seconds": seconds, "checkpoint_seconds": 0.5},
    )


def warm_of(local: LocalFarm, name: str) -> psutil.Process:
    agent = psutil.Process(local.agents[name].pid)
    (warm,) = (p for p in agent.children() if "aifarm.train.zygote" in " ".join(p.cmdline()))
    return warm


def worker_of(local: LocalFarm, name: str) -> psutil.Process:
    """The youngest child of the warm process: a gang's store is older."""
    return max(warm_of(local, name).children(), key=lambda child: child.create_time())


def completes(task: Task, *, attempts: int, last: int = STEPS) -> None:
    """In this attempt, and no step is missing or counted twice."""
    task.wait(timeout=120)
    assert task.refresh().attempt == attempts, story(task)
    assert steps(task) == list(range(1, last + 1))


def kept(local: LocalFarm, name: str, task: Task) -> list[Path]:
    """The checkpoints on this client's disk, the oldest first."""
    return sorted((local.data_dir / "agents" / name / "checkpoints" / task.id).glob("*.pt"))


def stored(local: LocalFarm, task: Task) -> Path:
    """The newest checkpoint's first part on the server's disk."""
    size = task.checkpoint().info.size
    parts = (local.data_dir / "server" / "artifacts" / "checkpoints").rglob("part=*")
    return max((p for p in parts if p.stat().st_size == size), key=lambda p: p.stat().st_mtime_ns)


def test_a_worker_of_three_ranks_is_killed(three: LocalFarm) -> None:
    with three.connect() as farm:
        task = submit(farm, 3)
        until_checkpoint(task)
        worker_of(three, task.refresh().clients[1]).kill()
        completes(task, attempts=2, last=EPOCHS * 3)
        assert "SIGKILL" in story(task)


def test_a_warm_process_is_killed_and_another_one_takes_its_place(lone: LocalFarm) -> None:
    with lone.connect() as farm:
        task = submit(farm)
        until_checkpoint(task)
        warm_of(lone, "agent-1").kill()
        completes(task, attempts=2)
        assert "The warm process ended" in story(task)


def test_the_host_of_rank_0_is_gone(three: LocalFarm) -> None:
    with three.connect() as farm:
        task = submit(farm, 2)
        until_checkpoint(task)
        first, second = task.refresh().clients
        kill_tree(three.agents[first].pid)
        completes(task, attempts=2, last=EPOCHS * 5)
        assert set(task.clients) == {*three.names} - {first}
        assert second in task.clients


def test_an_agent_that_is_back_after_its_lease_goes_on_where_nobody_took_over(
    lone: LocalFarm,
) -> None:
    with lone.connect() as farm:
        task = submit(farm)
        until_checkpoint(task)
        agent = lone.agents["agent-1"]
        os.kill(agent.pid, signal.SIGKILL)
        agent.wait()
        while "did not come back within its lease" not in story(task):
            time.sleep(0.2)
        lone.start_agent("agent-1", lone.data_dir / "agent-token")
        completes(task, attempts=1)


def test_a_server_is_frozen_for_longer_than_a_lease(three: LocalFarm) -> None:
    with three.connect() as farm:
        task = submit(farm)
        until_checkpoint(task)
        assert three.server is not None
        os.kill(three.server.pid, signal.SIGSTOP)
        time.sleep(2 * LEASE)
        os.kill(three.server.pid, signal.SIGCONT)
        completes(task, attempts=1)


def test_a_checkpoint_cut_on_the_clients_disk_is_fetched_anew(lone: LocalFarm) -> None:
    with lone.connect() as farm:
        task = submit(farm)
        until_checkpoint(task)
        worker_of(lone, "agent-1").send_signal(signal.SIGSTOP)  # no newer one is written
        newest = task.checkpoint().info
        for file in kept(lone, "agent-1", task):
            os.truncate(file, file.stat().st_size // 2)
        worker_of(lone, "agent-1").kill()
        completes(task, attempts=2)
        assert f"checkpoint of step {newest.step} is damaged on its disk: fetched" in story(task)


def test_the_checkpoint_before_one_cut_on_the_servers_disk_is_used(lone: LocalFarm) -> None:
    with lone.connect() as farm:
        task = submit(farm)
        while len(task.checkpoints()) < 2:
            until_checkpoint(task)
        worker_of(lone, "agent-1").send_signal(signal.SIGSTOP)
        newest, before, *_ = task.checkpoints()
        part = stored(lone, task)
        os.truncate(part, part.stat().st_size // 2)
        for file in kept(lone, "agent-1", task):
            file.unlink()
        worker_of(lone, "agent-1").kill()
        completes(task, attempts=3)
        words = f"step {newest.info.step} is damaged: that of step {before.info.step} is used"
        assert words in story(task)


# ---------------------------------------------------------------- a full disk

MOUNT = 'mount -t tmpfs -o size=160m none "$1" && shift && exec "$@"'


class SmallDisk:
    """An agent whose work dir is a disk of 160 MiB, which only it sees."""

    def __init__(self, local: LocalFarm, folder: Path) -> None:
        folder.mkdir()
        with local.connect() as farm:
            (folder.parent / "token").write_text(farm.create_token("small", "agent").token)
        agent = [sys.executable, "-m", "aifarm_agent", "--server", local.url.replace("http", "ws")]
        agent += ["--token-file", str(folder.parent / "token"), "--work-dir", str(folder / "w")]
        command = ["unshare", "-Urm", "sh", "-c", MOUNT, "sh", str(folder), *agent]
        self.log = open(folder.parent / "agent.log", "wb")  # noqa: SIM115
        self.process = subprocess.Popen(
            [*command, "--client-id", "small"], stdout=self.log, stderr=self.log
        )
        self.folder = Path(f"/proc/{self.process.pid}/root{folder}")

    def fill(self) -> None:
        """To the last byte."""
        with open(self.folder / "filler", "ab", buffering=0) as filler:
            for size in (2**20, 2**12):
                try:
                    while filler.write(b"x" * size) == size:
                        pass
                except OSError:
                    continue

    def empty(self) -> None:
        (self.folder / "filler").unlink()

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=60)
        self.log.close()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[LocalFarm, SmallDisk]]:
    with LocalFarm(tmp_path / "farm", agents=0, port=None, server_options=HASTY) as farm:
        agent = SmallDisk(farm, tmp_path / "disk")
        yield farm, agent
        agent.close()


def test_a_full_disk_costs_checkpoints_and_nothing_else(
    small: tuple[LocalFarm, SmallDisk],
) -> None:
    local, agent = small
    with local.connect() as farm:
        task = submit(farm, seconds=0.12)
        until_checkpoint(task)
        agent.fill()
        while "could not be written" not in story(task):
            time.sleep(0.2)
        known = len(task.checkpoints())
        reached = steps(task)[-1]
        while steps(task)[-1] < reached + 10:  # the curves go on
            time.sleep(0.2)
        agent.empty()
        while len(task.checkpoints()) <= known:
            time.sleep(0.2)
        completes(task, attempts=1)
