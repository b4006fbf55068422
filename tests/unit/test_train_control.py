import json
import socket
import stat

import pytest

from aifarm.train.control import Control, send


@pytest.fixture
def control(tmp_path):
    control = Control(str(tmp_path / "c"), "running")
    yield control
    control.close()


def test_the_latest_message_counts(control, tmp_path):
    for desired in ("paused", "running", "paused", "stopped"):
        assert send(str(tmp_path / "c"), desired)
    assert control.poll() == "stopped"
    assert control.poll() == "stopped"


def test_without_a_message_the_state_of_the_start_stays(tmp_path):
    control = Control(str(tmp_path / "c"), "paused")
    assert control.poll() == "paused"
    assert control.poll(timeout=0.001) == "paused"
    control.close()


@pytest.mark.parametrize("junk", [b"", b"{", b"[1]", b'{"desired": "faster"}', b"\xff"])
def test_junk_is_ignored(control, tmp_path, junk):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(json.dumps({"desired": "paused"}).encode(), str(tmp_path / "c"))
        sender.sendto(junk, str(tmp_path / "c"))
    assert control.poll() == "paused"


def test_only_the_owner_may_write_and_a_stale_socket_is_replaced(control, tmp_path):
    again = Control(str(tmp_path / "c"), "running")
    assert stat.S_IMODE((tmp_path / "c").stat().st_mode) == 0o600
    assert send(str(tmp_path / "c"), "paused")
    assert again.poll() == "paused"
    again.close()


def test_nobody_listening_is_said_not_raised(tmp_path):
    assert send(str(tmp_path / "nobody"), "paused") is False
