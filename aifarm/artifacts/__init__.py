"""Bytes of checkpoints and packages, as hashed parts under unique keys, on any fsspec URL."""

from aifarm.artifacts.errors import (
    ArtifactCorrupt,
    ArtifactError,
    ArtifactMissing,
    StorageFull,
    StorageUnavailable,
)
from aifarm.artifacts.opening import open_artifacts
from aifarm.artifacts.storage import FsspecArtifacts, sha256_of

__all__ = [
    "open_artifacts",
    "FsspecArtifacts",
    "sha256_of",
    "ArtifactError",
    "ArtifactCorrupt",
    "ArtifactMissing",
    "StorageFull",
    "StorageUnavailable",
]
