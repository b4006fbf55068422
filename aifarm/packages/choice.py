"""Which files of a folder belong into its package: git's, less what `.aifarmignore` names."""

import subprocess
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

IGNORE = ".aifarmignore"
"""Patterns as in .gitignore, at the top of the folder."""


class Choice:
    """Of `root`. In a work tree of git: the files that it tracks, and new ones that it does not
    ignore; elsewhere all."""

    def __init__(self, root: Path) -> None:
        self._ignored = _ignored(root)
        files = _of_git(root)
        self._files = files
        self._folders = {
            str(parent) for path in files or () for parent in PurePosixPath(path).parents
        }

    def takes(self, path: str, is_folder: bool) -> bool:
        """Whether `path`, relative to the root, is to be packed, or a folder to be entered."""
        if self._ignored and self._ignored.match_file(path + "/" if is_folder else path):
            return False
        if self._files is None or path in self._files:
            return True
        if is_folder and path in self._folders:
            return True
        # A link to a folder is one file to git.
        return any(str(parent) in self._files for parent in PurePosixPath(path).parents)


def _ignored(root: Path) -> "GitIgnoreSpec | None":
    try:
        patterns = (root / IGNORE).read_text().splitlines()
    except FileNotFoundError:
        return None
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(patterns)


def _of_git(root: Path) -> set[str] | None:
    """None where this is no work tree, git is not there, or it ignores the whole folder."""
    found: set[str] = set()
    for options in (["--cached", "--recurse-submodules"], ["--others", "--exclude-standard"]):
        try:
            listed = subprocess.run(
                ["git", "ls-files", "-z", *options], cwd=root, capture_output=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        found |= {path.decode(errors="surrogateescape") for path in listed.stdout.split(b"\0")}
    found.discard("")
    return found or None
