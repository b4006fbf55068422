"""What earlier attempts kept, back in the working folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def restore(kept: Path, work: Path) -> None:
    """Moves the files under `kept`, if there are any, over those under `work`."""
    for folder, _, names in os.walk(kept):
        there = work / os.path.relpath(folder, kept)
        there.mkdir(parents=True, exist_ok=True)
        for name in names:
            os.replace(os.path.join(folder, name), there / name)
    shutil.rmtree(kept, ignore_errors=True)
