"""Artifacts: what every storage must do, on a local disk and in fsspec's memory."""

import hashlib
import itertools
import sys
import threading
import uuid

import fsspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aifarm.artifacts import (
    ArtifactCorrupt,
    ArtifactMissing,
    StorageUnavailable,
    open_artifacts,
    sha256_of,
)

MIB = 1 << 20
KEY = "checkpoints/task-1/0.a_B"


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    if request.param == "file":
        yield f"file://{tmp_path}/artifacts"
        return
    url = f"memory://{uuid.uuid4().hex}"
    yield url
    fs, root = fsspec.url_to_fs(url)
    if fs.exists(root):
        fs.rm(root, recursive=True)


@pytest.fixture
def artifacts(url):
    return open_artifacts(url)


@pytest.fixture
def stored(url):
    """Path of a part, past the storage: (fs, path)."""

    def path(key, number):
        fs, root = fsspec.url_to_fs(url)
        return fs, f"{root}/{key}/part={number:08}"

    return path


def whole(artifacts, key, parts):
    return b"".join(artifacts.read(key, parts, 0, sum(part.size for part in parts)))


def test_a_part_tells_its_number_size_and_sha256(artifacts):
    part = artifacts.put_part(KEY, 3, b"abc")
    assert (part.number, part.size) == (3, 3)
    assert part.sha256 == hashlib.sha256(b"abc").hexdigest()


def test_parts_are_read_in_the_order_given_in_chunks_of_a_mebibyte_at_most(artifacts):
    data = [bytes([n]) * size for n, size in enumerate((2 * MIB + 5, 0, 7))]
    parts = [artifacts.put_part(KEY, n, piece) for n, piece in enumerate(data)]
    chunks = list(artifacts.read(KEY, parts, 0, 2 * MIB + 12))
    assert b"".join(chunks) == b"".join(data)
    assert max(map(len, chunks)) == MIB
    assert sha256_of(artifacts, KEY, parts) == hashlib.sha256(b"".join(data)).hexdigest()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.binary(max_size=20), max_size=5), ends=st.data())
def test_any_range_is_that_slice_of_the_whole(artifacts, pieces, ends):
    key = f"k/{uuid.uuid4().hex}"
    parts = [artifacts.put_part(key, n, piece) for n, piece in enumerate(pieces)]
    content = b"".join(pieces)
    start = ends.draw(st.integers(0, len(content)))
    stop = ends.draw(st.integers(start, len(content)))
    assert b"".join(artifacts.read(key, parts, start, stop)) == content[start:stop]


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1), (0, 4)])
def test_a_range_outside_is_a_mistake_of_the_caller(artifacts, start, stop):
    parts = [artifacts.put_part(KEY, 0, b"abc")]
    with pytest.raises(ValueError, match="are not in"):
        artifacts.read(KEY, parts, start, stop)


def test_readers_of_one_part_do_not_disturb_each_other(artifacts):
    data = bytes(range(256)) * (MIB // 64)
    parts = [artifacts.put_part(KEY, 0, data)]
    both = [artifacts.read(KEY, parts, 0, len(data)) for _ in range(2)]
    pairs = list(itertools.zip_longest(*both))
    assert b"".join(a for a, _ in pairs) == b"".join(b for _, b in pairs) == data


def test_putting_a_part_again_changes_nothing(artifacts):
    first = artifacts.put_part(KEY, 0, b"abc")
    assert artifacts.put_part(KEY, 0, b"abc") == first
    assert whole(artifacts, KEY, [first]) == b"abc"
    assert list(artifacts.keys()) == [KEY]


def test_another_opening_of_the_url_sees_what_was_stored(artifacts, url):
    part = artifacts.put_part(KEY, 0, b"abc")
    assert whole(open_artifacts(url), KEY, [part]) == b"abc"


def test_a_missing_part_is_told(artifacts):
    part = artifacts.put_part(KEY, 0, b"abc")
    artifacts.delete(KEY)
    with pytest.raises(ArtifactMissing, match=f"Part 0 of {KEY} is not stored"):
        whole(artifacts, KEY, [part])


def test_a_changed_part_is_refused_before_any_of_it_is_given_out(artifacts, stored):
    parts = [artifacts.put_part(KEY, n, bytes([n]) * (2 * MIB)) for n in range(2)]
    fs, path = stored(KEY, 1)
    fs.pipe_file(path, b"\1" * (2 * MIB - 1) + b"\2")
    reading = artifacts.read(KEY, parts, 0, 4 * MIB)
    assert [next(reading), next(reading)] == [bytes(MIB)] * 2
    with pytest.raises(ArtifactCorrupt, match=r"Part 1 of .* does not have its sha256"):
        next(reading)


def test_a_cut_part_is_refused_for_a_range_too(artifacts, stored):
    part = artifacts.put_part(KEY, 0, b"abcdef")
    fs, path = stored(KEY, 0)
    fs.pipe_file(path, b"abc")
    with pytest.raises(ArtifactCorrupt, match="cut short"):
        list(artifacts.read(KEY, [part], 2, 5))


def test_keys_are_those_with_a_part_and_nothing_else(artifacts, url):
    for key in ("a", "a/b", "a/b/c", "d-1/e.f"):
        artifacts.put_part(key, 0, b"x")
        artifacts.put_part(key, 1, b"y")
    fs, root = fsspec.url_to_fs(url)
    for foreign in ("notes.txt", "g/file.bin", "bad key/part=00000000", "a/b/c/d/part=00000000"):
        fs.makedirs(f"{root}/{foreign}".rpartition("/")[0], exist_ok=True)
        fs.pipe_file(f"{root}/{foreign}", b"not ours")
    assert sorted(artifacts.keys()) == ["a", "a/b", "a/b/c", "d-1/e.f"]


def test_delete_takes_one_key_and_can_be_repeated(artifacts):
    parts = {key: artifacts.put_part(key, 0, b"x") for key in ("a", "a/b", "a/b/c", "a/b2")}
    artifacts.delete("a/b")
    artifacts.delete("a/b")
    artifacts.delete("never/was")
    assert sorted(artifacts.keys()) == ["a", "a/b/c", "a/b2"]
    assert whole(artifacts, "a/b/c", [parts["a/b/c"]]) == b"x"
    for key in ("a/b/c", "a", "a/b2"):
        artifacts.delete(key)
    assert list(artifacts.keys()) == []


def test_writers_and_deleters_beside_each_other_do_not_fail(artifacts):
    """A folder is removed when its last key goes, perhaps while another key is being put."""
    start = threading.Barrier(4)
    failures = []

    def work(worker):
        start.wait()
        for n in range(40):
            key = f"shared/task/{worker}-{n}"
            try:
                part = artifacts.put_part(key, 0, b"x")
                assert whole(artifacts, key, [part]) == b"x"
                artifacts.delete(key)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(artifacts.keys()) == []


@pytest.mark.parametrize(
    "key",
    ["", ".", "..", "a/..", "../a", "a/.../b", "/a", "a/", "a//b", "a/b/c/d", "a b", "a\\b",
     "a\0", "a\n", "é", "part=00000000", "a/part=00000000", "tmp=", "C:", "x" * 129],
)  # fmt: skip
def test_a_key_that_could_leave_its_place_is_refused(artifacts, key):
    for call in (
        lambda: artifacts.put_part(key, 0, b""),
        lambda: artifacts.read(key, [], 0, 0),
        lambda: artifacts.delete(key),
    ):
        with pytest.raises(ValueError, match="is no key"):
            call()


@pytest.mark.parametrize("number", [-1, 10**8])
def test_a_number_that_no_part_can_have_is_refused(artifacts, number):
    with pytest.raises(ValueError, match="is no number"):
        artifacts.put_part(KEY, number, b"")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("foo://bucket/x", r"foo://bucket/x is of an unknown kind: use file:///path"),
        ("relative/path", r"'relative/path' must be a URL or an absolute path"),
        ("", r"'' must be a URL or an absolute path"),
        ("file:///proc/x", r"file:///proc/x cannot be written: No such file or directory\."),
        ("file:///dev/null", r"file:///dev/null cannot be written: Not a directory\."),
        ("foo://me:secret@host/x", r"foo://host/x is of an unknown kind"),
    ],
)
def test_a_storage_that_cannot_be_used_is_told_in_one_sentence(url, sentence):
    with pytest.raises(StorageUnavailable, match=sentence) as refusal:
        open_artifacts(url)
    assert "\n" not in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_a_missing_driver_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(StorageUnavailable, match=r"needs a driver .*: Install s3fs to access S3\."):
        open_artifacts("s3://bucket/folder")
