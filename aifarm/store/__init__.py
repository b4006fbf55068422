"""The durable truth: tasks, clients, events, metrics and logs in a SQL database."""

from aifarm.store.errors import (
    DatabaseAway,
    DatabaseLed,
    DatabaseRefused,
    LeadershipLost,
    StoreConflict,
    StoreError,
    StoreUnavailable,
)
from aifarm.store.store import SqlStore, open_store

__all__ = [
    "open_store",
    "SqlStore",
    "StoreError",
    "StoreUnavailable",
    "StoreConflict",
    "LeadershipLost",
    "DatabaseRefused",
    "DatabaseAway",
    "DatabaseLed",
]
