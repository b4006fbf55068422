"""`ports.Store` on a SQL database: `SqlStore` writes, `Reads` is the rest of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import exc as sql

from aifarm.store.database import Database
from aifarm.store.errors import DatabaseAway, DatabaseRefused
from aifarm.store.migrate import migrate
from aifarm.store.postgres import Postgres
from aifarm.store.reads import Reads
from aifarm.store.sqlite import SqliteFile
from aifarm.store.write import Buffer, Writer


class SqlStore(Reads):
    """Made by `open_store`."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._writer = Writer(database.dialect, database.upsert)

    @contextmanager
    def transaction(self) -> Iterator[Buffer]:
        """Commits what was written when the block ends; a raised error leaves nothing of it."""
        buffer = Buffer()
        yield buffer
        with self._explained():
            try:
                with self._database.writing() as connection:
                    self._writer.write(connection, buffer)
            except BaseException:
                self._writer.forget()
                raise

    def close(self) -> None:
        """Ends all connections and lets go of the database; the last act of its owner."""
        if not self._closed:
            self._closed = True
            self._database.close()


def open_store(url: str) -> SqlStore:
    """The store of a database, brought up to date; an existing one is copied first, to
    farm.db.before-<revision> or a schema called before-<revision>.

    What follows sqlite:/// is the path as it is, so an absolute one makes four slashes;
    postgresql+psycopg:// is a URL of SQLAlchemy. Raises DatabaseRefused; where PostgreSQL is led
    by another server, DatabaseLed after two seconds.
    """
    database = _database(url)
    try:
        with database.opening() as connection:
            migrate(connection, lambda suffix: database.back_up(connection, suffix))
    except sql.DBAPIError as error:
        database.close()
        raise DatabaseAway(database.explain(error.orig)) from error
    except BaseException:
        database.close()
        raise
    return SqlStore(database)


def _database(url: str) -> Database:
    scheme, _, rest = url.partition("://")
    if scheme in ("postgresql", "postgresql+psycopg"):
        return Postgres(f"postgresql+psycopg://{rest}")
    path = rest.removeprefix("/")
    if scheme != "sqlite" or path in (rest, "", ":memory:"):
        raise DatabaseRefused(
            "The database must be a SQLite file, given as sqlite:///PATH, or PostgreSQL, given as"
            " postgresql+psycopg://NAME:PASSWORD@HOST:PORT/DATABASE."
        )
    return SqliteFile(Path(path))
