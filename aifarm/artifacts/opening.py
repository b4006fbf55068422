"""From a URL to a storage that works, or one sentence why it does not."""

import os
import re

import fsspec  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]
from fsspec.utils import get_protocol  # type: ignore[import-untyped]

from aifarm.artifacts.errors import StorageUnavailable
from aifarm.artifacts.local import LocalArtifacts
from aifarm.artifacts.storage import FsspecArtifacts, reason


def open_artifacts(url: str) -> FsspecArtifacts:
    """The storage at `url` (`file:///path`, an absolute path, `s3://bucket/path`, …), after a write
    to it went well. Raises StorageUnavailable.
    """
    # A URL may hold a password.
    shown = re.sub(r"//[^/@]*@", "//", url)
    if "://" not in url and not os.path.isabs(url):
        raise StorageUnavailable(
            f"The artifact storage {shown!r} must be a URL or an absolute path: "
            "use file:///path or s3://bucket/path."
        )
    if get_protocol(url) not in fsspec.available_protocols():
        raise StorageUnavailable(
            f"The artifact storage {shown} is of an unknown kind: use file:///path, "
            "s3://bucket/path or another URL that fsspec knows."
        )
    try:
        fs, root = fsspec.url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        raise StorageUnavailable(
            f"The artifact storage {shown} needs a driver that is not installed: {reason(error)}."
        ) from error
    except Exception as error:
        raise StorageUnavailable(
            f"The artifact storage {shown} cannot be opened: {reason(error)}."
        ) from error
    kind = LocalArtifacts if isinstance(fs, LocalFileSystem) else FsspecArtifacts
    artifacts = kind(fs, root)
    try:
        artifacts.check_writable()
    except StorageUnavailable as error:
        raise StorageUnavailable(
            f"The artifact storage {shown} cannot be written: {reason(error.__cause__ or error)}."
        ) from error
    return artifacts
