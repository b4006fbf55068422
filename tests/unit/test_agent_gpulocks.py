"""GPUs of one host that several agents lend: each is one agent's, or its living workers'."""

import asyncio
import subprocess
import sys

import pytest

from aifarm.train import gpulock
from aifarm.train.distributed import HostError
from aifarm_agent import gpulocks
from aifarm_agent.events import RankKey
from aifarm_agent.gpulocks import GpuLocks, GpuTaken

GPU, OTHER = "GPU-1abc", "MIG-GPU-2/1/0"
ONE, TWO = RankKey("one", 1, 0), RankKey("two", 1, 0)

WORKER = """
import sys
from aifarm.train import gpulock
gpulock.hold(sys.argv[1:])
print("holds", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def agents(tmp_path, monkeypatch):
    """Two agents of one host."""
    monkeypatch.setattr(gpulocks, "SURE", 0.1)
    return GpuLocks(tmp_path / "locks"), GpuLocks(tmp_path / "locks")


def claim(locks, key, *uuids):
    return asyncio.run(locks.claim(key, uuids))


def worker(files):
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"holds\n"
    return process


def end(process):
    process.kill()
    process.communicate()


def test_a_gpu_is_one_agents_until_its_last_rank_ends(agents):
    mine, theirs = agents
    claim(mine, ONE, GPU, OTHER)
    claim(mine, TWO, GPU)
    assert (theirs.taken(GPU), theirs.taken(OTHER), mine.taken(GPU)) == (True, True, False)
    with pytest.raises(GpuTaken, match="GPU-1abc is in use by another agent"):
        claim(theirs, ONE, GPU)
    mine.release(ONE)
    assert (theirs.taken(GPU), theirs.taken(OTHER)) == (True, False)
    mine.release(TWO)
    claim(theirs, ONE, GPU)
    assert mine.taken(GPU)


def test_what_was_had_before_one_was_refused_is_let_go(agents):
    mine, theirs = agents
    claim(mine, ONE, OTHER)
    with pytest.raises(GpuTaken):
        claim(theirs, ONE, GPU, OTHER)
    assert not mine.taken(GPU)


def test_a_worker_that_outlives_its_agent_keeps_the_gpu(agents, tmp_path):
    mine, theirs = agents
    process = worker(claim(mine, ONE, GPU))
    mine.release(ONE)  # as the kernel does for an agent that was killed
    assert theirs.taken(GPU)
    with pytest.raises(GpuTaken):
        claim(theirs, TWO, GPU)
    restarted = GpuLocks(tmp_path / "locks")
    restarted.reclaim(ONE, [GPU])
    end(process)
    assert theirs.taken(GPU)
    restarted.release(ONE)
    assert not theirs.taken(GPU)
    claim(theirs, TWO, GPU)


def test_looking_does_not_disturb_a_claim_and_strangers_may_look(agents, tmp_path):
    mine, theirs = agents
    assert not theirs.taken(GPU)
    files = claim(mine, ONE, GPU)
    process = worker(files)
    assert theirs.taken(GPU)
    end(process)
    folder = tmp_path / "locks"
    assert folder.stat().st_mode & 0o7777 == 0o1777
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o644}


def test_a_worker_does_not_wait_for_ever_for_a_lock(agents, monkeypatch):
    mine, _ = agents
    monkeypatch.setattr(gpulock, "SECONDS", 0.05)
    (file,) = claim(mine, ONE, GPU)
    process = subprocess.Popen(["flock", "-x", file, "sh", "-c", "echo holds; cat"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout.readline() == b"holds\n"
    with pytest.raises(HostError, match="is held by another program"):
        gpulock.hold([file])
    process.communicate()


def test_a_folder_that_is_no_folder_is_no_lock_and_no_gpu(tmp_path):
    (tmp_path / "locks").write_text("")
    locks = GpuLocks(tmp_path / "locks")
    assert not locks.taken(GPU)
    with pytest.raises(OSError, match="Not a directory"):
        claim(locks, ONE, GPU)
