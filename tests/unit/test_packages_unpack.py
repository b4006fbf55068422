"""unpack: whole or not at all, and never over anything that is there."""

import hashlib
import os
import stat
import threading

import pytest

from aifarm.packages import PackageInvalid, pack_source, unpack, unpacking, verify

SOURCE = "x = 1\n"


@pytest.fixture
def package(tmp_path):
    archive = pack_source(SOURCE, "m", "1", entry="pkg/model.py")
    path = tmp_path / "m.zip"
    path.write_bytes(archive)
    return path, hashlib.sha256(archive).hexdigest()


def siblings(into):
    return sorted(path.name for path in into.parent.iterdir() if path != into)


def test_files_and_folders_get_plain_modes_whatever_the_umask(package, tmp_path):
    archive, sha256 = package
    before = os.umask(0o077)
    try:
        unpack(archive, tmp_path / "out", sha256)
    finally:
        os.umask(before)
    modes = {
        path.relative_to(tmp_path).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in [tmp_path / "out", *(tmp_path / "out").rglob("*")]
    }
    assert modes == {
        "out": 0o755,
        "out/pkg": 0o755,
        "out/pkg/model.py": 0o644,
        "out/aifarm.json": 0o644,
    }


def test_missing_parents_are_made(package, tmp_path):
    archive, sha256 = package
    assert unpack(archive, tmp_path / "a/b/out", sha256).entry == "pkg/model.py"
    assert (tmp_path / "a/b/out/pkg/model.py").read_text() == SOURCE


def test_a_second_unpack_writes_nothing(package, tmp_path):
    archive, sha256 = package
    first = unpack(archive, tmp_path / "out", sha256)
    inode = (tmp_path / "out/pkg/model.py").stat().st_ino
    (tmp_path / "out/__pycache__").mkdir()
    assert unpack(archive, tmp_path / "out", sha256) == first
    assert (tmp_path / "out/pkg/model.py").stat().st_ino == inode
    assert siblings(tmp_path / "out") == ["m.zip"]


def test_the_wrong_hash_is_refused_even_where_the_package_already_lies(package, tmp_path):
    archive, sha256 = package
    unpack(archive, tmp_path / "out", sha256)
    with pytest.raises(PackageInvalid, match="not the expected"):
        unpack(archive, tmp_path / "out", "0" * 64)


def changed(out):
    (out / "pkg/model.py").write_text("x = 2\n")


def cut(out):
    (out / "aifarm.json").write_text("")


def linked(out):
    (out / "pkg/model.py").rename(out / "real.py")
    (out / "pkg/model.py").symlink_to("../real.py")


def looped(out):
    (out / "pkg/model.py").unlink()
    (out / "pkg/model.py").symlink_to("model.py")


@pytest.mark.parametrize("damage", [changed, cut, linked, looped])
def test_what_was_changed_since_is_set_aside_and_unpacked_anew(package, tmp_path, damage):
    archive, sha256 = package
    out = tmp_path / "out"
    unpack(archive, out, sha256)
    damage(out)
    unpack(archive, out, sha256)
    assert (out / "pkg/model.py").read_text() == SOURCE
    assert not (out / "pkg/model.py").is_symlink()
    (aside,) = tmp_path.glob(".out.*.aside")
    assert (aside / "out").is_dir()


def test_a_link_in_the_way_is_moved_and_never_followed(package, tmp_path):
    archive, sha256 = package
    elsewhere = tmp_path / "elsewhere"
    unpack(archive, elsewhere, sha256)
    (tmp_path / "out").symlink_to(elsewhere)
    unpack(archive, tmp_path / "out", sha256)
    assert not (tmp_path / "out").is_symlink()
    assert (tmp_path / "out/pkg/model.py").read_text() == SOURCE


@pytest.mark.parametrize("step", ["_put", "os.rename"])
def test_a_package_that_another_process_put_there_meanwhile_is_kept(
    package, tmp_path, monkeypatch, step
):
    archive, sha256 = package
    out = tmp_path / "out"
    original = os.rename if step == "os.rename" else unpacking._put

    def late(*arguments):
        monkeypatch.undo()
        unpack(archive, out, sha256)
        original(*arguments)

    monkeypatch.setattr(f"aifarm.packages.unpacking.{step}", late)
    unpack(archive, out, sha256)
    assert (out / "pkg/model.py").read_text() == SOURCE
    assert siblings(out) == ["m.zip"]


def test_a_failed_write_leaves_nothing(package, tmp_path):
    archive, sha256 = package
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        unpack(archive, tmp_path / "file" / "out", sha256)
    assert siblings(tmp_path / "file") == ["m.zip"]


def test_many_at_once_end_with_one_whole_package(package, tmp_path):
    archive, sha256 = package
    start = threading.Barrier(8)
    results = []

    def one():
        start.wait()
        results.append(unpack(archive, tmp_path / "out", sha256))

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [verify(archive)] * 8
    assert siblings(tmp_path / "out") == ["m.zip"]
