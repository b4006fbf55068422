"""What can go wrong with stored bytes; each message is one sentence."""

from aifarm.app.errors import NotFound, Unavailable


class ArtifactError(Exception):
    """A failure of the artifact storage."""


class ArtifactMissing(ArtifactError, NotFound):
    """Bytes that should be stored are not there."""


class ArtifactCorrupt(ArtifactError, NotFound):
    """Stored bytes are not those that were written."""


class StorageFull(ArtifactError, Unavailable):
    """The storage takes no more data; nothing was stored, what was there before is intact."""


class StorageUnavailable(ArtifactError, Unavailable):
    """The storage cannot be used, now or as configured."""
