"""Putting a package on disk, whole or not at all."""

import hashlib
import logging
import os
import shutil
import tempfile
from pathlib import Path
from zipfile import ZipFile

from aifarm.packages.archive import content, verified
from aifarm.packages.manifest import LIMITS, MANIFEST, Limits, Manifest

logger = logging.getLogger(__name__)


def unpack(archive: Path, into: Path, sha256: str, limits: Limits = LIMITS) -> Manifest:
    """Verifies `archive` against `sha256` and makes `into` hold its files and `aifarm.json`.

    `into` appears by one rename; where it already holds this package, nothing is written. Where
    it holds anything else, or files that were changed since, that is renamed to a sibling
    `.NAME.XXXX.aside` and stays there: a worker may still run in it. Raises PackageInvalid, and
    OSError where the disk refuses.
    """
    with verified(archive, sha256, limits) as (opened, manifest):
        expected = {MANIFEST: hashlib.sha256(opened.read(MANIFEST)).hexdigest(), **manifest.files}
        if _holds(into, expected):
            return manifest
        into.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{into.name}.", dir=into.parent))
        try:
            _extract(opened, expected, fresh)
            _put(fresh, into, expected)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return manifest


def _extract(archive: ZipFile, files: dict[str, str], folder: Path) -> None:
    for path, sha256 in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "xb") as file:
            for chunk in content(archive, path, sha256):
                file.write(chunk)
        target.chmod(0o644)
    for parent, _, _ in os.walk(folder):
        os.chmod(parent, 0o755)


def _put(fresh: Path, into: Path, files: dict[str, str]) -> None:
    if _holds(into, files):
        return
    if os.path.lexists(into):
        aside = Path(tempfile.mkdtemp(prefix=f".{into.name}.", suffix=".aside", dir=into.parent))
        os.rename(into, aside / into.name)
        logger.warning("%s was not the package it should be; moved into %s", into, aside)
    try:
        os.rename(fresh, into)
    except OSError:
        # Another process may have put the same package there in the meantime.
        if not _holds(into, files):
            raise


def _holds(folder: Path, files: dict[str, str]) -> bool:
    """Whether every one of `files` is there, is no link, and has its sha256.

    Others may be there too: training code writes beside itself.
    """
    if folder.is_symlink():
        return False
    root = Path(os.path.realpath(folder))
    for path, sha256 in files.items():
        file = root / path
        if os.path.realpath(file) != str(file) or not file.is_file():
            return False
        with open(file, "rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != sha256:
                return False
    return True
