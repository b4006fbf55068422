"""Artifacts on a local disk: crashes, full disks, leftovers."""

import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aifarm.artifacts import StorageFull, StorageUnavailable, open_artifacts

MIB = 1 << 20


@pytest.fixture
def root(tmp_path):
    return tmp_path / "with space"


@pytest.fixture
def artifacts(root):
    return open_artifacts(f"file://{root}")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MiB and 20 files."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m,nr_inodes=20", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def content(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest() * (3 * MIB // 32)


def test_an_absolute_path_is_a_storage_too(tmp_path):
    open_artifacts(str(tmp_path / "a")).put_part("k", 0, b"x")
    assert files(tmp_path / "a") == ["k/part=00000000"]


def test_deleting_leaves_no_folder_behind(artifacts, root):
    artifacts.put_part("task/checkpoint/1", 0, b"x")
    artifacts.put_part("task/checkpoint/2", 0, b"x")
    artifacts.delete("task/checkpoint/1")
    assert files(root) == ["task/checkpoint/2/part=00000000"]
    artifacts.delete("task/checkpoint/2")
    assert not (root / "task").exists()


def test_a_full_disk_is_told_harms_nothing_and_is_over_when_there_is_space(small_disk):
    artifacts = open_artifacts(f"file://{small_disk}")
    first = artifacts.put_part("a", 0, bytes(MIB))
    with pytest.raises(StorageFull, match=r"is full, part 1 of a .*No space left.*free some"):
        artifacts.put_part("a", 1, bytes(3 * MIB))
    with pytest.raises(StorageFull):
        artifacts.put_part("a", 0, bytes(3 * MIB))
    assert files(small_disk) == ["a/part=00000000"]
    assert b"".join(artifacts.read("a", [first], 0, MIB)) == bytes(MIB)
    artifacts.put_part("b", 0, bytes(MIB))
    with pytest.raises(StorageFull):
        artifacts.put_part("c", 0, bytes(2 * MIB))
    artifacts.delete("b")
    artifacts.put_part("c", 0, bytes(MIB + 1))


def test_a_storage_that_is_full_can_be_opened(small_disk):
    artifacts = open_artifacts(f"file://{small_disk}")
    part = artifacts.put_part("a", 0, b"x")
    with pytest.raises(OSError, match="No space"):
        [(small_disk / f"other{n}").touch() for n in range(20)]
    assert list(open_artifacts(f"file://{small_disk}").read("a", [part], 0, 1)) == [b"x"]


def test_a_write_that_the_system_cuts_is_told_and_leaves_nothing(artifacts, root):
    """A limit on file size stands for a quota; it needs no root."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, before[1]))
    try:
        with pytest.raises(StorageFull, match="File too large"):
            artifacts.put_part("a", 0, bytes(2 * MIB))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files(root) == []


def test_a_storage_that_goes_away_is_told(artifacts, root):
    shutil.rmtree(root)
    root.write_text("a file now")
    with pytest.raises(StorageUnavailable, match="part 0 of a cannot be stored: "):
        artifacts.put_part("a", 0, b"x")


def test_leftovers_of_crashed_writers_go_at_the_next_start_but_not_those_at_work(artifacts, root):
    (root / "tmp=" / "old").write_bytes(b"half")
    (root / "tmp=" / "young").write_bytes(b"half")
    os.utime(root / "tmp=" / "old", (time.time() - 4000,) * 2)
    open_artifacts(f"file://{root}")
    assert files(root) == ["tmp=/young"]
    assert list(artifacts.keys()) == []


WRITER = """
import hashlib, itertools, sys
from aifarm.artifacts import open_artifacts
artifacts = open_artifacts(sys.argv[1])
for number in map(int, itertools.cycle("0123")):
    data = hashlib.sha256(str(number).encode()).digest() * (3 * 2**20 // 32)
    artifacts.put_part("a/b", number, data)
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


@pytest.mark.parametrize("told", [1, 2, 3, 5, 7])
def test_a_killed_writer_leaves_whole_parts_only_and_all_that_it_told_of(root, told):
    """Killed in the middle of the part after the last one it told of, new or written anew."""
    url = f"file://{root}"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True
    ) as writer:
        numbers = {int(writer.stdout.readline()) for _ in range(told)}
        writer.send_signal(signal.SIGKILL)
    folder = root / "a" / "b"
    found = {int(path.name.removeprefix("part=")): path.read_bytes() for path in folder.iterdir()}
    assert numbers <= found.keys()
    assert all(data == content(number) for number, data in found.items())
    # Going on where it was cut needs nothing special.
    parts = [open_artifacts(url).put_part("a/b", n, content(n)) for n in range(4)]
    assert b"".join(open_artifacts(url).read("a/b", parts, 0, 12 * MIB)) == b"".join(
        content(n) for n in range(4)
    )
