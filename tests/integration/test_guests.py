"""Programs without a line of ours, under a real warm process: what they see, and their curves."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from warm import WarmProcess

FACTS = '''
"""Prints what a program can see of how it was started; the same under any starter."""
import atexit
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time

import sibling

learning_rate = 0.1
exec(open(os.path.join("config", "fast.py")).read())


class Squares:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return index * index


def double(value):
    return 2 * value


def finish():
    time.sleep(0.1)
    print("the thread ended", __name__)


if __name__ == "__main__":
    import torch
    from torch.utils.data import DataLoader

    atexit.register(print, "left by atexit")
    print(sys.argv, __name__, os.path.basename(__file__), os.path.isabs(__file__))
    print(os.path.relpath(sys.path[0]), sibling.__name__, learning_rate)
    print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
    print(pickle.loads(pickle.dumps(Squares())).__class__ is Squares)
    for way in ("fork", "spawn"):
        with multiprocessing.get_context(way).Pool(1) as pool:
            print(way, pool.map(double, [1, 2]))
    print([batch.tolist() for batch in DataLoader(Squares(), 2, num_workers=1)])
    print(torch.get_num_threads(), end=" threads\\n")
    threading.Thread(target=finish).start()
    sys.exit(0)
'''


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    warm = WarmProcess(tmp_path_factory.mktemp("warm")).connect()
    yield warm
    warm.close()


def package(folder, **files):
    for name, source in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return folder


def run(warm, folder, entry="train.py", args=(), **task):
    started = warm.start(folder, kind="script", entry=entry, args=list(args), **task)
    last, exited = started.wait_for_end()
    while (started.path / "watching").exists():
        started._await_bell()
    return started, last, exited


def curves(started):
    """The points that the watcher wrote, and the progress with the last of them."""
    from journal_lines import points_of

    lines = [
        json.loads(line)
        for segment in sorted((started.path / "watch").iterdir())
        for line in segment.read_text().splitlines()
    ]
    points = [point for line in lines for point in points_of(line)]
    return [(step, values) for step, _, values in points], lines[-1]["progress"] if lines else None


def test_a_program_sees_what_it_sees_under_python_itself(warm, tmp_path):
    folder = package(
        tmp_path / "p", sub__train=FACTS, sub__sibling="", config__fast="learning_rate = 1\n"
    )
    bare = shutil.copytree(folder, tmp_path / "bare")
    expected = subprocess.run(
        [sys.executable, "sub/train.py", "--x", "1"],
        cwd=bare,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ).stdout
    started, last, exited = run(warm, folder, "sub/train.py", ["--x", "1"])
    assert started.log == expected
    assert (last["type"], exited["code"]) == ("finished", 0)
    assert not started.of("checkpoint")


def test_a_package_is_run_as_python_m_would(warm, tmp_path):
    entry = "from .model import NAME\nprint(__package__, NAME, __spec__.name)\n"
    folder = package(tmp_path / "p", tool__model="NAME = 'net'\n")
    (folder / "tool" / "__init__.py").touch()
    (folder / "tool" / "__main__.py").write_text(entry)
    started, last, _ = run(warm, folder, "tool/__main__.py")
    assert last["type"] == "finished", last
    assert started.log == "tool net tool.__main__\n"


def test_two_runs_that_seed_nothing_draw_other_numbers(warm, tmp_path):
    source = (
        "import random, numpy, torch\nprint(random.random(), numpy.random.rand(), torch.rand(1))\n"
    )
    folder = package(tmp_path / "p", train=source)
    first, second = (run(warm, folder)[0].log for _ in range(2))
    assert all(a != b for a, b in zip(first.split(), second.split(), strict=True))


PATTERN = r"step (?P<step>\d+)/(?P<total>\d+)(?:.* loss (?P<loss>\S+))?"


def test_curves_come_from_lines_and_bars_to_the_very_last(warm, tmp_path):
    source = """
import sys
for step in range(1, 2001):
    print(f"step {step}/2000 - loss {1 / step}")
for step in range(5):
    sys.stderr.write(f"\\r bar {step}")
print("and now step 2000/2000 - loss nan", end="")
sys.stdout.flush()
import os; os.kill(os.getpid(), 9)
"""
    started, _, exited = run(warm, package(tmp_path, train=source), progress_from=PATTERN)
    assert exited["signal"] == signal.SIGKILL
    points, progress = curves(started)
    assert [step for step, _ in points] == [*range(1, 2001), 2000]
    assert points[1999][1] == {"loss": 1 / 2000}
    assert progress == 100.0
    assert "loss" not in json.loads((started.path / "watched.json").read_text())


def test_a_pattern_that_hangs_costs_its_own_curves_only(warm, tmp_path, monkeypatch):
    source = "print('a' * 4000)\nopen('done.txt', 'w').close()\n"
    started, last, _ = run(
        warm, package(tmp_path, train=source), progress_from=r"(?P<step>(a|aa)+)$.b"
    )
    assert last["type"] == "finished"
    assert (started.path / "work" / "done.txt").exists()
    assert "progress_from takes too long" in started.log


def test_tensorboard_files_are_curves_but_those_of_earlier_attempts(warm, tmp_path):
    source = """
from torch.utils.tensorboard import SummaryWriter
import os
writer = SummaryWriter("runs/a")
other = SummaryWriter("runs/b", filename_suffix=".b")
writer.add_text("note", "hello")
for step in range(50):
    writer.add_scalar("loss", 1 / (step + 1), step)
    other.add_scalar("loss", 2.0, step)
writer.close(); other.close()
import shutil
new = os.path.join("runs/a", os.listdir("runs/a")[0])
shutil.copy(new, "runs/events.out.tfevents.1000000000.host")
"""
    started, last, _ = run(warm, package(tmp_path, train=source))
    assert last["type"] == "finished", last
    points, _ = curves(started)
    names = {name for _, values in points for name in values}
    assert len(names) == 2
    assert "loss" in names
    assert len(points) == 100
    watched = json.loads((started.path / "watched.json").read_text())
    assert sorted(watched.values()) == [pytest.approx(0.02), 2.0]
