"""Room that is kept for the outbox."""

from aifarm_agent import reserve
from aifarm_agent.reserve import Reserve


class Usage:
    def __init__(self, free):
        self.free = free


def test_the_reserve_takes_its_room_gives_it_once_and_takes_it_again(tmp_path):
    kept = Reserve(tmp_path / "reserve", 2**16)
    assert kept.keep()
    assert kept.keep()
    found = (tmp_path / "reserve").stat()
    assert found.st_size == 2**16
    assert found.st_blocks * 512 >= 2**16
    assert kept.spend()
    assert not kept.spend()
    assert list(tmp_path.iterdir()) == []
    assert kept.keep()


def test_what_was_just_given_is_not_taken_back_while_there_is_no_other_room(tmp_path, monkeypatch):
    kept = Reserve(tmp_path / "reserve", 2**16)
    monkeypatch.setattr(reserve.shutil, "disk_usage", lambda path: Usage(2**17 - 1))
    assert not kept.keep()
    monkeypatch.setattr(reserve.shutil, "disk_usage", lambda path: Usage(2**17))
    assert kept.keep()


def test_a_disk_that_fills_up_meanwhile_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reserve.os, "posix_fallocate", full)
    assert not Reserve(tmp_path / "reserve", 2**16).keep()
    assert list(tmp_path.iterdir()) == []
