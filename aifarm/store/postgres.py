"""Everything that is PostgreSQL's own: its connections, who may write, its errors.

The server that leads holds an advisory lock on the very connection that it writes with, so the
lock ends when the connection does, and only then another server gets it. That one raises the
epoch, which each transaction checks: whoever led before can commit nothing more (FAULTS row 35).
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, Table, create_engine, make_url
from sqlalchemy import exc as sql
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.pool import NullPool, QueuePool

from aifarm.store.database import READERS, or_update
from aifarm.store.errors import DatabaseAway, DatabaseLed, DatabaseRefused, LeadershipLost
from aifarm.store.tables import leader, metadata

LEADER_LOCK = 0x61_69_66_61_72_6D
"""The advisory lock of the leader: "aifarm" in ASCII. Its scope is the database."""

LEADER_WAIT = 2
"""Seconds for which `Postgres` waits for the present leader to go."""

CONNECT_WAIT = 5
STATEMENT_WAIT = 60
"""Seconds after which PostgreSQL gives a statement up, so that a lock of another program does not
hold the farm for ever."""

SILENCE = {"tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 3}
"""PostgreSQL notices within 25 s that a leader's machine is gone, and lets its lock go; the
leader notices as soon that PostgreSQL is."""

_READER = {
    "default_transaction_isolation": r"repeatable\ read",
    "default_transaction_read_only": "on",
    "statement_timeout": f"{STATEMENT_WAIT}s",
}


class Postgres:
    """One PostgreSQL database, of which this server is the leader."""

    def __init__(self, url: str) -> None:
        """Raises DatabaseRefused: DatabaseAway without a connection, DatabaseLed while another
        server leads."""
        try:
            self._url = make_url(url)
            self._place = f"{self._url.database} at {self._url.host or 'this machine'}"
            self._reader = self._engine(
                _READER, poolclass=QueuePool, pool_size=READERS, pool_pre_ping=True
            )
            self._writer = self._engine(SILENCE, poolclass=NullPool, paramstyle="format")
        except ModuleNotFoundError:
            raise DatabaseRefused(
                "PostgreSQL needs psycopg: install aifarm with the extra `postgres`, as in"
                " pip install 'aifarm[postgres]'."
            ) from None
        except (sql.ArgumentError, ValueError):  # whose words would repeat the password
            raise DatabaseRefused(
                "The database's URL is not valid: write it as"
                " postgresql+psycopg://NAME:PASSWORD@HOST:PORT/DATABASE."
            ) from None
        self._epoch = 0
        self._connection: Connection | None = self._lead()

    @property
    def dialect(self) -> Dialect:
        return self._writer.dialect

    def _engine(self, settings: dict[str, Any], **options: Any) -> Engine:
        """Connections with these settings of PostgreSQL, after those in the URL."""
        words = [self._url.query.get("options", "")]
        words += [f"-c {name}={value}" for name, value in settings.items()]
        arguments = {
            "options": " ".join(map(str, words)).strip(),
            "application_name": f"aifarm {socket.gethostname()} pid {os.getpid()}",
            "connect_timeout": CONNECT_WAIT,
            "keepalives_idle": SILENCE["tcp_keepalives_idle"],
            "keepalives_interval": SILENCE["tcp_keepalives_interval"],
            "keepalives_count": SILENCE["tcp_keepalives_count"],
            "tcp_user_timeout": 25_000,
        }
        return create_engine(self._url, connect_args=arguments, hide_parameters=True, **options)

    def _lead(self) -> Connection:
        """The writer's connection, with the leader's lock on it."""
        try:
            connection = self._writer.connect()
        except sql.DBAPIError as error:
            raise DatabaseAway(
                f"The PostgreSQL database {self._place} cannot be opened: {_words(error.orig)}."
            ) from None
        try:
            with connection.begin():
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LEADER_WAIT}s'")
                connection.exec_driver_sql(f"SELECT pg_advisory_lock({LEADER_LOCK})")
        except sql.DBAPIError as error:
            connection.close()
            if getattr(error.orig, "sqlstate", None) == "55P03":
                raise DatabaseLed(
                    f"Another server leads the farm in the database {self._place}; this one"
                    " stands by and takes over when it is gone."
                ) from None
            raise DatabaseAway(self.explain(error.orig)) from None
        return connection

    @contextmanager
    def opening(self) -> Iterator[Connection]:
        """Ends with a new epoch."""
        assert self._connection is not None  # noqa: S101  nothing has failed yet
        with self._connection.begin():
            yield self._connection
            first = insert(leader).values(id=1, epoch=1)
            next_one = first.on_conflict_do_update(
                index_elements=[leader.c.id], set_={"epoch": leader.c.epoch + 1}
            )
            self._epoch = self._connection.execute(next_one.returning(leader.c.epoch)).scalar_one()
        with self._connection.begin():
            # A commit is on disk when it is told, whatever this database's default is.
            self._connection.exec_driver_sql(
                "SELECT set_config('synchronous_commit', 'on', false)"
                " WHERE current_setting('synchronous_commit') = 'off'"
            )
            self._connection.exec_driver_sql(f"SET statement_timeout = '{STATEMENT_WAIT}s'")

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        if self._connection is None:
            raise LeadershipLost(f"The connection to the database {self._place} is lost.")
        try:
            with self._connection.begin():
                # Shared, so that whoever takes over waits until this transaction is over.
                mine = f"SELECT 1 FROM leader WHERE epoch = {self._epoch} FOR SHARE"
                if self._connection.exec_driver_sql(mine).first() is None:
                    raise LeadershipLost(f"Another server leads the farm in {self._place}.")
                yield self._connection
        except BaseException as error:
            if not isinstance(error, LeadershipLost) and self._rolled_back():
                raise
            self._let_go()
            if isinstance(error, LeadershipLost):
                raise
            raise LeadershipLost(
                f"The connection to the database {self._place} was lost, and with it the right to"
                " write; whether the last transaction was kept is read from the database."
            ) from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._reader.connect() as connection:
            yield connection

    def back_up(self, connection: Connection, suffix: str) -> None:
        """All tables again in a schema called `suffix`, in the transaction that migrates."""
        quoted = self.dialect.identifier_preparer.quote
        copy = quoted(suffix)
        try:
            own = quoted(connection.exec_driver_sql("SELECT current_schema()").scalar_one())
            connection.exec_driver_sql(f"DROP SCHEMA IF EXISTS {copy} CASCADE")
            connection.exec_driver_sql(f"CREATE SCHEMA {copy}")
            names = connection.exec_driver_sql(
                "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
            )
            known = {*metadata.tables, "alembic_version"}
            for name in (quoted(name) for name in names.scalars() if name in known):
                source, target = f"{own}.{name}", f"{copy}.{name}"
                connection.exec_driver_sql(f"CREATE TABLE {target} (LIKE {source} INCLUDING ALL)")
                connection.exec_driver_sql(f"INSERT INTO {target} SELECT * FROM {source}")
        except sql.DBAPIError as error:
            raise DatabaseRefused(
                "The database is not migrated, because no copy can be made in the schema "
                f"{copy}: {_words(error.orig)}."
            ) from None

    @staticmethod
    def upsert(table: Table) -> Insert:
        return or_update(insert(table))

    def explain(self, error: BaseException | None) -> str:
        state = getattr(error, "sqlstate", None) or ""
        if state == "53100":
            return f"The disk of the database {self._place} is full: free some space there."
        if state in ("57014", "55P03"):
            return f"The database {self._place} is too busy, or another program has locked it."
        if state in ("25006", "42501"):
            return f"The database {self._place} may not be written ({_words(error)})."
        if state[:2] in ("", "08", "57"):
            return f"The database {self._place} does not answer ({_words(error)})."
        return f"The database {self._place} refused: {_words(error)}."

    def _rolled_back(self) -> bool:
        """Whether nothing of a failed transaction is left, and the lock is still held."""
        if self._connection is None or self._connection.invalidated:
            return False
        try:
            # SQLAlchemy leaves the transaction open where its commit was not even tried.
            self._connection.connection.dbapi_connection.rollback()  # type: ignore[union-attr]
        except self.dialect.loaded_dbapi.Error:
            return False
        return True

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        self._reader.dispose()
        self._let_go()
        self._writer.dispose()


def _words(error: BaseException | None) -> str:
    """The last thing that PostgreSQL or its library said, on one line; it names no password."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if "FATAL:" in line), lines[0] if lines else repr(error))
    return said.rpartition("FATAL:")[2].strip().rstrip(".")
