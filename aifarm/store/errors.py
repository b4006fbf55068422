"""What the store raises. The message is one sentence for people."""

from aifarm.app.errors import Deposed, Unavailable


class StoreError(Exception):
    """Base of the store's errors."""


class StoreUnavailable(StoreError, Unavailable):
    """The database cannot be read or written at present; nothing of the transaction was kept."""


class StoreConflict(StoreError, Deposed):
    """A row is not what this server last wrote, so somebody else writes (FAULTS row 35).

    Nothing of the transaction was kept, and trying again does not help.
    """


class LeadershipLost(StoreError, Deposed):
    """This server is not, or not for sure, the one that may write; what the last transaction
    came to is not known. A store that is opened anew knows."""


class DatabaseRefused(StoreError):
    """`open_store` will not use this database."""


class DatabaseAway(DatabaseRefused):
    """It cannot be reached or used at present."""


class DatabaseLed(DatabaseRefused):
    """Another server leads; it may go, and then this one can have the database."""
