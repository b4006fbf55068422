"""What the store needs of a database; `sqlite` and `postgres` give it."""

from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.sql.dml import Insert

READERS = 4
"""Connections that read at once; further readers wait."""


class Database(Protocol):
    """One database, taken for this server alone until `close`."""

    @property
    def dialect(self) -> Dialect:
        """Of the writer: its parameters have places, not names."""

    def opening(self) -> AbstractContextManager[Connection]:
        """The transaction in which a server that begins brings the tables up to date."""

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction of the one writer; it commits when the block ends without an error.

        Raises LeadershipLost, once and for all, where this server may not write any more.
        """

    def reading(self) -> AbstractContextManager[Connection]:
        """One snapshot of what is committed, for any thread."""

    def back_up(self, connection: Connection, suffix: str) -> None:
        """A consistent copy that the present version can be started on, named with `suffix`.

        Raises DatabaseRefused.
        """

    def upsert(self, table: Table) -> Insert:
        """Inserts a whole row, or updates the row that has the same primary key."""

    def explain(self, error: BaseException | None) -> str:
        """One sentence about a failed statement."""

    def close(self) -> None:
        """After this another server may have the database."""


def or_update(insert: Any) -> Insert:
    """A dialect's own insert of whole rows, which updates those whose primary key is there."""
    keys = set(insert.table.primary_key.columns)
    others = [column.name for column in insert.table.columns if column not in keys]
    found: Insert = insert.on_conflict_do_update(
        index_elements=insert.table.primary_key.columns,
        set_={name: insert.excluded[name] for name in others},
    )
    return found
