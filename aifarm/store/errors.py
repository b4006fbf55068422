"""What the store raises. The message is one sentence for people."""

from aifarm.app.errors import Unavailable


class StoreError(Exception):
    """Base of the store's errors."""


class StoreUnavailable(StoreError, Unavailable):
    """The database cannot be read or written at present; nothing of the transaction was kept."""


class StoreConflict(StoreError):
    """A row is not what this server last wrote, so somebody else writes (FAULTS row 35).

    Nothing of the transaction was kept, and trying again does not help.
    """


class DatabaseRefused(StoreError):
    """`open_store` will not use this database."""
