"""Where model code comes from, as git knows it."""

import hashlib
import os
import subprocess
from pathlib import Path

from aifarm.packages import MAX_DIFF, Origin

SECONDS = 10
"""For one question to git: a package is published without an answer, too."""

PACKED = (".", ":(exclude,glob)**/.*", ":(exclude,glob)**/.*/**")
"""Hidden files do not travel, so what they hold must not either."""


def origin_of(folder: Path) -> Origin | None:
    """The commit that `folder` is at and what was changed since; None where git does not know."""
    try:
        commit = _git(folder, "rev-parse", "HEAD").decode().strip()
        status = _git(folder, "status", "--porcelain", "--", *PACKED)
        diff = _git(folder, "diff", "--no-ext-diff", "--no-textconv", "HEAD", "--", *PACKED)
    except (OSError, subprocess.SubprocessError):
        return None
    if not status:
        return Origin(commit)
    text = diff.decode(errors="replace")
    return Origin(commit, True, text[:MAX_DIFF], hashlib.sha256(diff).hexdigest())


def _git(folder: Path, *arguments: str) -> bytes:
    """What git says. Raises OSError, SubprocessError."""
    asked = subprocess.run(
        ["git", "-c", "core.fsmonitor=false", *arguments],
        cwd=folder,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=SECONDS,
    )
    return asked.stdout
