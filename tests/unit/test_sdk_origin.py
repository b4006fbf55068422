"""What a package says of the commit that it comes from."""

import hashlib
import json
import subprocess
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest

from aifarm.packages import MAX_DIFF, Origin
from aifarm.sdk.code import Code
from aifarm.sdk.origin import origin_of

NOBODY = {
    "GIT_AUTHOR_NAME": "nobody",
    "GIT_AUTHOR_EMAIL": "nobody@example.org",
    "GIT_COMMITTER_NAME": "nobody",
    "GIT_COMMITTER_EMAIL": "nobody@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "PATH": "/usr/bin:/bin",
}


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=NOBODY, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model in a folder of a repository, with a secret beside it."""
    folder = tmp_path / "repository" / "model"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text("x = 1\n")
    (folder / ".env").write_text("KEY=1\n")
    (folder.parent / "other.py").write_text("y = 1\n")
    git(folder.parent, "init", "-q")
    git(folder.parent, "add", "-f", ".")
    git(folder.parent, "commit", "-q", "-m", "first")
    return folder


def test_a_folder_without_changes_is_its_commit(folder: Path) -> None:
    (folder / ".env").write_text("KEY=2\n")
    (folder.parent / "other.py").write_text("y = 2\n")
    assert origin_of(folder) == Origin(git(folder, "rev-parse", "HEAD"))


def test_changes_of_what_is_packed_are_told_and_no_others(folder: Path) -> None:
    (folder / "model.py").write_text("x = 2\n")
    (folder / ".env").write_text("KEY=secret\n")
    found = origin_of(folder)
    assert found is not None
    assert found.dirty
    assert "+x = 2" in found.diff
    assert "secret" not in found.diff
    assert found.diff_sha256 == hashlib.sha256(found.diff.encode()).hexdigest()


def test_a_long_diff_is_cut_and_its_hash_is_of_all_of_it(folder: Path) -> None:
    (folder / "model.py").write_text("x = 2\n" * MAX_DIFF)
    found = origin_of(folder)
    assert found is not None
    assert len(found.diff) == MAX_DIFF
    assert found.diff_sha256 != hashlib.sha256(found.diff.encode()).hexdigest()


def test_a_new_file_is_a_change(folder: Path) -> None:
    (folder / "new.py").write_text("")
    found = origin_of(folder)
    assert found is not None
    assert found.dirty


def test_where_git_knows_nothing_a_package_says_nothing(tmp_path: Path) -> None:
    assert origin_of(tmp_path) is None
    assert origin_of(tmp_path / "nowhere") is None


def test_the_manifest_has_it_and_the_version_does_not_depend_on_it(folder: Path) -> None:
    code = Code.of(folder, "m", entry="model.py", kind="declarative", defaults=None, data={})
    with ZipFile(BytesIO(code.packed("1", code.origin()))) as archive:
        manifest = json.loads(archive.read("aifarm.json"))
    assert manifest["origin"] == {"commit": git(folder, "rev-parse", "HEAD")}
    with ZipFile(BytesIO(code.packed("1"))) as archive:
        assert "origin" not in json.loads(archive.read("aifarm.json"))
