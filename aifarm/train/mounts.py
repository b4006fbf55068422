"""Paths of the host, to be seen under a script's working folder."""

from __future__ import annotations

from pathlib import Path

from aifarm.train.package import PackageInvalid


def mount(work: Path, mounts: dict[str, str]) -> None:
    """Makes a link in `work` for each of `mounts`: a path there, and the host's path.

    Raises PackageInvalid where the package has something in that place.
    """
    for inside, path in mounts.items():
        link = work / inside
        try:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
        except (FileExistsError, NotADirectoryError):
            raise PackageInvalid(
                f"{path} cannot be seen at {inside}: the package has something there"
            ) from None
