"""A script that attends to nothing is held, let go and ended by signals."""

import subprocess
import sys
import time

import psutil
import pytest

from aifarm_agent.events import CannotPause, Failed, Finished, Paused, Running
from aifarm_agent.guest import UNPAUSED_SECONDS, Guest
from aifarm_agent.processes import look

FAMILY = """
import signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
def last(number, frame):
    print("asked", flush=True)
signal.signal(signal.SIGTERM, last)
print(child.pid, flush=True)
while True:
    time.sleep(60)
"""


class Worker:
    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", FAMILY],
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        self.child = psutil.Process(int(self.says()))
        self.leader = psutil.Process(self.process.pid)
        self.known = look(self.process.pid)

    def says(self):
        return self.process.stdout.readline().strip()

    def states(self):
        return {self.leader.status(), self.child.status()}


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.child.kill()
    worker.process.kill()
    worker.process.wait()
    worker.process.stdout.close()


def until_stopped(worker, stopped):
    while (psutil.STATUS_STOPPED in worker.states()) != stopped:
        time.sleep(0.001)


def test_it_is_held_with_its_children_and_goes_on(worker, tmp_path):
    guest = Guest(tmp_path, alone=True, begun=False)
    assert guest.steer(worker.known, "paused", 0) is None  # it has not spoken yet
    guest.begun = True
    assert isinstance(guest.steer(worker.known, "paused", 1), Paused)
    while worker.states() != {psutil.STATUS_STOPPED}:
        time.sleep(0.001)
    assert guest.steer(worker.known, "paused", 2) is None  # repeats say nothing
    assert guest.steer(worker.known, "running", 3) == Running()
    until_stopped(worker, False)
    assert guest.steer(worker.known, "running", 4) is None


def test_a_later_agent_lets_go_what_an_earlier_one_held(worker, tmp_path):
    Guest(tmp_path, alone=True, begun=True).steer(worker.known, "paused", 0)
    until_stopped(worker, True)
    later = Guest(tmp_path, alone=True, begun=True)
    assert later.steer(worker.known, "running", 1) == Running()
    until_stopped(worker, False)


def test_held_it_hears_sigterm_once_and_alone(worker, tmp_path):
    guest = Guest(tmp_path, alone=True, begun=True)
    guest.steer(worker.known, "paused", 0)
    assert not guest.terminated
    for _ in range(3):
        guest.terminate(worker.known)
    assert worker.says() == "asked"
    assert guest.terminated
    assert worker.child.is_running()
    assert worker.child.status() != psutil.STATUS_ZOMBIE


def test_ranks_of_a_gang_are_not_held(worker, tmp_path):
    guest = Guest(tmp_path, alone=False, begun=True)
    assert guest.steer(worker.known, "paused", 10) is None
    assert guest.steer(worker.known, "paused", 10 + UNPAUSED_SECONDS) == CannotPause()
    assert psutil.STATUS_STOPPED not in worker.states()


def test_a_rank_whose_peer_went_first_was_paused_like_it(tmp_path):
    guest = Guest(tmp_path, alone=False, begun=True)
    assert guest.left("paused", Failed("peers_lost", "rank 1 lost contact with its peers"))
    assert guest.left("paused", None)
    assert not guest.left("paused", Finished({}))
    assert not guest.left("running", Failed("user_error", "No."))
    assert not Guest(tmp_path, alone=True, begun=True).left("paused", Failed("user_error", "No."))


def test_what_attends_is_left_to_itself(worker, tmp_path):
    guest = Guest(tmp_path, alone=True, begun=True)
    (tmp_path / "attends").touch()
    assert guest.steer(worker.known, "paused", 0) is None
    assert psutil.STATUS_STOPPED not in worker.states()
