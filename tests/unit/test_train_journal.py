import errno
import json
import math
import os
import socket

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aifarm.train.journal import Journal
from journal_lines import points_of


def read(folder):
    """All lines of the journal, in order."""
    segments = sorted(folder.glob("*.jsonl"))
    return [json.loads(line) for path in segments for line in path.read_bytes().splitlines()]


def points(lines):
    return [point for line in lines for point in points_of(line)]


def dropped(lines):
    return sum(line["dropped"] for line in lines if line["type"] == "points")


def test_points_precede_the_line_written_after_them(tmp_path):
    journal = Journal(tmp_path / "j", str(tmp_path / "nobody"))
    for step in range(5):
        journal.point(step, {"loss": step / 2}, progress=step * 10.0)
    journal.write({"type": "running", "step": 5})
    journal.point(5, {"loss": 9.0}, progress=50.0)
    journal.close()
    lines = read(tmp_path / "j")
    running = lines.index({"type": "running", "step": 5})
    assert [step for step, _, _ in points(lines[:running])] == [0, 1, 2, 3, 4]
    assert [metrics for _, _, metrics in points(lines[running:])] == [{"loss": 9.0}]
    assert lines[running - 1]["progress"] == 40.0


def test_numbers_that_json_lacks_are_told_apart(tmp_path):
    journal = Journal(tmp_path / "j", "")
    journal.point(1, {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.0}, 0.0)
    journal.write({"type": "checkpoint", "metrics": {"loss": math.nan}})
    journal.close()
    lines = read(tmp_path / "j")
    assert points(lines)[0][2] == {"a": None, "b": None, "c": None, "d": 1.0}
    assert lines[-1]["metrics"] == {"loss": "nan"}


def test_a_flush_rings_the_doorbell(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.bind(str(tmp_path / "bell"))
        bell.settimeout(30)
        journal = Journal(tmp_path / "j", str(tmp_path / "bell"))
        journal.point(1, {"loss": 1.0}, 0.0)
        assert bell.recv(16) == b"!"
        assert points(read(tmp_path / "j"))
        journal.close()


def test_segments_rotate_and_hold_whole_lines(tmp_path):
    journal = Journal(tmp_path / "j", "", segment_bytes=200)
    for number in range(50):
        journal.write({"type": "running", "step": number})
    journal.close()
    segments = sorted((tmp_path / "j").glob("*.jsonl"))
    assert [path.name for path in segments[:2]] == ["00000001.jsonl", "00000002.jsonl"]
    assert all(path.stat().st_size < 300 for path in segments)
    assert [line["step"] for line in read(tmp_path / "j")] == list(range(50))


def test_a_long_backlog_thins_points_and_tells_how_many_are_gone(tmp_path):
    journal = Journal(tmp_path / "j", "", segment_bytes=1000, backlog_bytes=3000)
    for step in range(200):  # lines that are never consumed
        journal.write({"type": "running", "step": step})
    for step in range(5000):
        journal.point(step, {"loss": 1.0}, 0.0)
        if step == 100:
            journal.point(step, {"accuracy": 0.5}, 0.0)
    journal.write({"type": "finished", "metrics": {}})
    journal.close()
    lines = read(tmp_path / "j")
    assert len(points(lines)) + dropped(lines) == 5001
    assert dropped(lines) > 4000
    assert [100, {"accuracy": 0.5}] in [[step, metrics] for step, _, metrics in points(lines)]
    assert points(lines)[-1][0] == 4999
    assert lines[-1]["type"] == "finished"


def test_thinning_ends_when_the_agent_has_consumed(tmp_path):
    folder = tmp_path / "j"
    journal = Journal(folder, "", segment_bytes=500, backlog_bytes=1000)
    for step in range(100):
        journal.write({"type": "running", "step": step})
    for path in sorted(folder.glob("*.jsonl"))[:-1]:
        path.unlink()
    journal.write({"type": "running", "step": 100})
    for step in range(50):
        journal.point(step, {"loss": 1.0}, 0.0)
    journal.write({"type": "running", "step": 101})
    journal.close()
    assert len(points(read(folder))) == 50


@pytest.mark.parametrize(("value", "read_as"), [(0.5, 0.5), (math.nan, None)])
def test_a_metric_may_be_a_tensor_that_is_read_at_the_flush(tmp_path, value, read_as):
    journal = Journal(tmp_path / "j", "")
    journal.point(1, {"loss": torch.tensor(value)}, 0.0)
    journal.close()
    assert points(read(tmp_path / "j"))[0][2] == {"loss": read_as}


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.one_of(st.none(), st.integers(1, 60)), max_size=12), st.integers(1, 30))
def test_a_disk_that_takes_parts_or_nothing_leaves_no_torn_or_lost_line(
    tmp_path_factory, takes, count
):
    """Each write takes some bytes (None: it fails); after that the disk is well again."""
    folder = tmp_path_factory.mktemp("journal") / "j"
    outcomes = iter(takes)
    really_write = os.write

    def write(descriptor, data):
        taken = next(outcomes, len(data))
        if taken is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return really_write(descriptor, data[:taken])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", write)
        journal = Journal(folder, "", segment_bytes=100)
        for number in range(count):
            journal.write({"type": "running", "step": number})
        journal.close()
    assert [line["step"] for line in read(folder)] == list(range(count))
