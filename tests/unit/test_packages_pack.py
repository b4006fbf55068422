"""pack: what goes in, what is refused, and that the bytes depend on the content alone."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aifarm.packages import Manifest, PackageInvalid, pack, pack_source, unpack, verify

SOURCE = "def build_model(cfg):\n    return None\n"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def clash(paths: Iterable[str]) -> bool:
    """Whether a file system that ignores case could not hold them all."""
    folded = [path.casefold() for path in paths]
    return any(
        a == b or a.startswith(b + "/") or b.startswith(a + "/")
        for a, b in itertools.combinations(folded, 2)
    )


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "model", {"model.py": SOURCE.encode()})


component = st.text("abAB0_-éÉ ", min_size=1, max_size=6)
trees = st.dictionaries(
    st.lists(component, min_size=1, max_size=3).map("/".join), st.binary(max_size=200), max_size=6
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=trees,
    defaults=st.dictionaries(
        st.text(max_size=5),
        st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.booleans()
        | st.text(max_size=5),
        max_size=3,
    ),
)
def test_what_was_packed_is_what_is_unpacked_or_one_sentence_says_why_not(
    tmp_path_factory, files, defaults
):
    root = tmp_path_factory.mktemp("trip")
    files = {**files, "model.py": SOURCE.encode()}
    try:
        write(root / "model", files)
    except OSError:  # one path is a folder of another
        return
    try:
        archive = pack(root / "model", "m", "1", defaults=defaults)
    except PackageInvalid:
        assert clash(files) or "\0" in "".join(map(str, [*defaults, *defaults.values()]))
        return
    assert not clash(files)
    (root / "m.zip").write_bytes(archive)
    manifest = unpack(root / "m.zip", root / "out", sha256(archive))
    unpacked = tree(root / "out")
    del unpacked["aifarm.json"]
    assert unpacked == files
    assert manifest.defaults == defaults
    assert manifest.files == {path: sha256(data) for path, data in files.items()}
    assert pack(root / "out", "m", "1", defaults=defaults) == archive


def test_a_known_package_has_a_known_sha256():
    # Changes only with the format: everything published would get another address.
    archive = pack_source(SOURCE, "m", "1.0", requires=["torch>=2"], defaults={"lr": 0.1, "n": 3})
    assert sha256(archive) == "35c91f870852cb6d44a98e86682f64d5c9cb08d95eabb5e5d6d47906614d727e"


def test_time_mode_order_and_place_of_the_files_do_not_matter(tmp_path):
    files = {"model.py": SOURCE.encode(), "a/x.py": b"1", "b.txt": b"2"}
    first = write(tmp_path / "first", files)
    second = write(tmp_path / "elsewhere" / "second", dict(reversed(files.items())))
    os.utime(second / "model.py", (1, 1))
    (second / "b.txt").chmod(0o755)
    assert pack(first, "m", "1") == pack(second, "m", "1")


def test_another_process_with_another_hash_seed_makes_the_same_bytes(folder):
    write(folder, {f"f{n}.py": b"x" for n in range(20)})
    program = (
        "import sys, pathlib; from aifarm.packages import pack;"
        "archive = pack(pathlib.Path(sys.argv[1]), 'm', '1', defaults={'b': 1, 'a': 2});"
        "sys.stdout.buffer.write(archive)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, folder],
        env={**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"},
        stdout=subprocess.PIPE,
        check=True,
    )
    assert result.stdout == pack(folder, "m", "1", defaults={"a": 2, "b": 1})


def test_text_and_folder_with_the_same_file_are_the_same_package(folder):
    assert pack_source(SOURCE, "m", "1") == pack(folder, "m", "1")


def test_caches_environments_hidden_files_and_an_old_manifest_stay_out(folder):
    junk = [".git/config", ".venv/x.py", "__pycache__/m.pyc", "a/.ipynb_checkpoints/x", ".env"]
    write(folder, {path: b"secret" for path in [*junk, "old.pyc", "aifarm.json", "sub/keep.py"]})
    assert set(verify(pack(folder, "m", "1")).files) == {"model.py", "sub/keep.py"}


def test_the_manifest_says_what_was_given(folder):
    manifest = verify(
        pack(folder, "m", "2", kind="script", requires=["torch>=2"], defaults={"lr": 0.1})
    )
    assert manifest == Manifest(
        name="m",
        version="2",
        kind="script",
        entry="model.py",
        requires=("torch>=2",),
        defaults={"lr": 0.1},
        files={"model.py": sha256(SOURCE.encode())},
    )


def test_a_link_inside_the_folder_is_packed_as_its_content(folder):
    (folder / "alias.py").symlink_to("model.py")
    assert verify(pack(folder, "m", "1")).files["alias.py"] == sha256(SOURCE.encode())


@pytest.mark.parametrize(
    ("name", "target", "sentence"),
    [
        ("x.py", "../outside.py", "leaves the folder"),
        ("x.py", "/etc/hostname", "leaves the folder"),
        ("data", "..", "leaves the folder"),
        ("x.py", "nowhere.py", "leads nowhere"),
        ("x.py", "x.py", "leads nowhere"),
        ("sub", ".", "lead back"),
    ],
)
def test_a_link_that_leaves_or_loops_is_refused(folder, name, target, sentence):
    (folder.parent / "outside.py").write_text("secret")
    (folder / name).symlink_to(target)
    with pytest.raises(PackageInvalid, match=sentence):
        pack(folder, "m", "1")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": "a b"}, "name 'a b' must be"),
        ({"name": "../x"}, "name '../x' must be"),
        ({"name": ""}, "name '' must be"),
        ({"version": "-1"}, "version '-1' must be"),
        ({"version": "1" * 129}, "version '1+ must be"),
        ({"kind": "magic"}, "`kind`"),
        ({"entry": "train.py"}, "no file 'train.py'"),
        ({"entry": "../model.py"}, "no file"),
        ({"defaults": {"lr": float("nan")}}, "plain JSON"),
        ({"defaults": {"lr": object()}}, "plain JSON"),
        ({"defaults": {"deep": json.loads("[" * 40 + "]" * 40)}}, "deeper"),
        ({"requires": [3]}, "`requires"),
    ],
)
def test_bad_input_ends_in_one_sentence(folder, change, sentence):
    arguments = {"name": "m", "version": "1", **change}
    with pytest.raises(PackageInvalid, match=sentence) as refusal:
        pack(folder, **arguments)
    assert "\n" not in str(refusal.value)


def test_text_for_an_entry_outside_is_refused():
    with pytest.raises(PackageInvalid, match="stay inside"):
        pack_source(SOURCE, "m", "1", entry="../model.py")


def test_a_missing_folder_and_a_file_as_folder_are_told(folder):
    with pytest.raises(PackageInvalid, match="nowhere: No such file"):
        pack(folder / "nowhere", "m", "1")
    with pytest.raises(PackageInvalid, match="Not a directory"):
        pack(folder / "model.py", "m", "1")


def test_a_pipe_is_refused_and_not_read(folder):
    os.mkfifo(folder / "pipe")
    with pytest.raises(PackageInvalid, match="not a regular file"):
        pack(folder, "m", "1")


def test_a_name_that_is_not_utf8_is_refused(folder):
    (folder / os.fsdecode(b"\xff.py")).write_text("x")
    with pytest.raises(PackageInvalid, match="not valid UTF-8"):
        pack(folder, "m", "1")


def test_names_that_differ_in_case_alone_are_refused(folder):
    write(folder, {"Model.py": b""})
    with pytest.raises(PackageInvalid, match="one file on some machines"):
        pack(folder, "m", "1")


def test_a_folder_too_large_is_refused_before_it_is_read(folder):
    with open(folder / "weights.bin", "wb") as file:
        file.truncate(257 << 20)
    with pytest.raises(PackageInvalid, match="too large for a package"):
        pack(folder, "m", "1")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("defaults = {'width': 8, 'sizes': (1, 2)}\n", {"width": 8, "sizes": [1, 2]}),
        ("defaults: dict = {'lr': 0.1}\n", {"lr": 0.1}),
        ("defaults = {'a': 1}\ndefaults = {'a': 2}\n", {"a": 2}),
        ("defaults = {'width': 2 * WIDTH}\n", {}),
        ("defaults = {'a': {1, 2}}\n", {}),
        ("defaults = [1]\n", {}),
        ("def f():\n    defaults = {'a': 1}\n", {}),
        ("this is no Python\n", {}),
    ],
)
def test_the_manifest_has_the_defaults_that_the_entry_declares(source, expected):
    assert verify(pack_source(source, "p", "1")).defaults == expected


def test_defaults_that_are_named_count_instead():
    packed = pack_source("defaults = {'a': 1}\n", "p", "1", defaults={"b": 2})
    assert verify(packed).defaults == {"b": 2}


def git(folder, *arguments):
    identity = ["-c", "user.name=x", "-c", "user.email=x@y"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def packed(folder):
    return set(verify(pack(folder, "m", "1")).files)


def test_a_repository_is_packed_as_git_has_it(folder):
    write(folder, {"data/big.bin": b"x", "lib/a.py": b"", ".gitignore": b"data/\n", "old.py": b""})
    (folder / "linked").symlink_to("lib")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    write(folder, {"new.py": b""})
    (folder / "old.py").unlink()
    assert packed(folder) == {"model.py", "lib/a.py", "linked/a.py", "new.py"}


def test_a_folder_that_git_ignores_as_a_whole_is_packed_as_it_is(tmp_path, folder):
    write(tmp_path, {".gitignore": b"model/\n"})
    git(tmp_path, "init", "-q")
    assert packed(folder) == {"model.py"}


def test_aifarmignore_leaves_out_what_it_names(folder):
    files = {"runs/1/log": b"", "runs/keep.txt": b"", "a.ckpt": b"", "sub/a.ckpt": b"", "b.py": b""}
    write(folder, files | {".aifarmignore": b"# weights\n*.ckpt\nruns/*\n!runs/keep.txt\n"})
    assert packed(folder) == {"model.py", "b.py", "runs/keep.txt"}
