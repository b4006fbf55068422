"""`ports.Store` on a SQL database: `SqlStore` writes, `Reads` is the rest of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy import exc as sql

from aifarm.store.errors import DatabaseRefused
from aifarm.store.migrate import migrate
from aifarm.store.reads import Reads
from aifarm.store.sqlite import SqliteFile
from aifarm.store.write import Buffer, Writer


class SqlStore(Reads):
    """Made by `open_store`."""

    def __init__(self, database: SqliteFile) -> None:
        super().__init__(database)
        self._writer = Writer(database.dialect, database.upsert)
        self._connection: Connection | None = None

    @contextmanager
    def transaction(self) -> Iterator[Buffer]:
        """Commits what was written when the block ends; a raised error leaves nothing of it."""
        buffer = Buffer()
        yield buffer
        with self._explained():
            try:
                if self._connection is None:
                    self._connection = self._database.writer.connect()
                with self._connection.begin():
                    self._writer.write(self._connection, buffer)
            except BaseException:
                self._disconnect()
                raise

    def _disconnect(self) -> None:
        """After a failure nothing is known for sure: the next transaction begins afresh."""
        self._writer.forget()
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Ends all connections and lets go of the database; the last act of its owner."""
        if self._closed:
            return
        self._closed = True
        self._database.reader.dispose()  # the writer goes last: it checkpoints
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._database.close()


def open_store(url: str) -> SqlStore:
    """The store of a database, brought up to date; an existing one is copied to
    farm.db.before-<revision> first.

    What follows sqlite:/// is the path as it is, so an absolute one makes four slashes. Raises
    DatabaseRefused.
    """
    path = url.removeprefix("sqlite:///")
    if path in (url, "", ":memory:"):
        raise DatabaseRefused("The database must be a SQLite file, given as sqlite:///PATH.")
    database = SqliteFile(Path(path))
    try:
        with database.migrator.begin() as connection:
            migrate(connection, database.back_up)
    except sql.DBAPIError as error:
        database.close()
        raise DatabaseRefused(database.explain(error.orig)) from error
    except BaseException:
        database.close()
        raise
    return SqlStore(database)
