"""Everything that is SQLite's own: its file, its lock, its connections, its errors.

One connection writes and checkpoints the WAL; the others only read (SQLite before 3.51.3 can
corrupt a WAL that two connections reset at once).
"""

import fcntl
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection, Dialect, Engine, Table, create_engine, event
from sqlalchemy.dialects.sqlite import Insert, insert
from sqlalchemy.pool import NullPool, QueuePool

from aifarm.store.database import READERS, or_update
from aifarm.store.errors import DatabaseRefused

LOCK_WAIT = 5.0
"""Seconds to wait for another program that has locked the file."""

_WRITER = ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=4000", "cache_size=-16384")
_READER = ("query_only=ON", "wal_autocheckpoint=0")

_NETWORK = re.compile(
    r"9p|afs|beegfs|ceph|cifs|drvfs|glusterfs|gpfs|lustre|ncpfs|nfs4?|orangefs|smb3|smbfs"
    r"|fuse\.(ceph|glusterfs|rclone|s3fs|sshfs)"
)
_MOUNTS = Path("/proc/self/mountinfo")


class SqliteFile:
    """One database file, locked for this process."""

    def __init__(self, path: Path) -> None:
        """Raises DatabaseRefused."""
        self.path = path = path.absolute()
        if not path.parent.is_dir():
            raise DatabaseRefused(f"The folder {path.parent} of the database does not exist.")
        if _MOUNTS.exists():
            kind = filesystem(path.parent.resolve(), _MOUNTS.read_text())
            if _NETWORK.fullmatch(kind):
                raise DatabaseRefused(
                    f"{path} lies on a network file system ({kind}), where SQLite can lose data; "
                    "choose a data folder on a local disk."
                )
        self._lock = _lock(path)
        self._migrator = self._engine("rwc", _WRITER, poolclass=NullPool)
        self._writer = self._engine("rwc", (*_WRITER, "foreign_keys=ON"), poolclass=NullPool)
        self._reader = self._engine("ro", _READER, poolclass=QueuePool, pool_size=READERS)
        event.listen(self._migrator, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
        event.listen(self._writer, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
        event.listen(self._reader, "begin", lambda c: c.exec_driver_sql("BEGIN"))
        self._connection: Connection | None = None

    @property
    def dialect(self) -> Dialect:
        return self._writer.dialect

    def _engine(self, mode: str, pragmas: tuple[str, ...], **options: object) -> Engine:
        def connect() -> sqlite3.Connection:
            # isolation_level None: no transaction begins but those of the listeners above.
            connection = sqlite3.connect(
                f"{self.path.as_uri()}?mode={mode}",
                uri=True,
                timeout=LOCK_WAIT,
                isolation_level=None,
                check_same_thread=False,
            )
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}")
            return connection

        return create_engine("sqlite://", creator=connect, hide_parameters=True, **options)

    @contextmanager
    def opening(self) -> Iterator[Connection]:
        """Without foreign keys: a migration may build tables anew."""
        with self._migrator.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """After a failure nothing is known for sure: the next one begins with a new connection."""
        try:
            if self._connection is None:
                self._connection = self._writer.connect()
            with self._connection.begin():
                yield self._connection
        except BaseException:
            if self._connection is not None:
                self._connection.invalidate()
                self._disconnect()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._reader.connect() as connection:
            yield connection

    def back_up(self, connection: Connection, suffix: str) -> None:
        """A file beside this one, whole or not there; its name ends with `suffix`."""
        target = self.path.with_name(f"{self.path.name}.{suffix}")
        unfinished = target.with_name(f"{target.name}.unfinished")
        try:
            unfinished.unlink(missing_ok=True)
            with (
                closing(sqlite3.connect(self.path)) as source,
                closing(sqlite3.connect(unfinished)) as copy,
            ):
                source.backup(copy)
            os.replace(unfinished, target)
        except (sqlite3.Error, OSError) as error:
            raise DatabaseRefused(
                f"The database is not migrated, because no copy can be made at {target}: {error}."
            ) from None

    @staticmethod
    def upsert(table: Table) -> Insert:
        return or_update(insert(table))

    def explain(self, error: BaseException | None) -> str:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return f"The database's disk is full: free some space for {self.path}."
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return f"Another program has locked the database {self.path}."
        if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
            return f"The disk of the database {self.path} fails ({error})."
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
            return f"The database {self.path} may not be written ({error})."
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return f"{self.path} is damaged or no SQLite database ({error})."
        return f"The database {self.path} refused: {error}."

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        self._reader.dispose()  # the writer goes last: it checkpoints
        self._disconnect()
        self._writer.dispose()
        self._migrator.dispose()
        os.close(self._lock)


def filesystem(path: Path, mountinfo: str) -> str:
    """Type of the file system that holds `path`, from the text of /proc/self/mountinfo."""
    found, kind = Path(), ""
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        point = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), mount.split()[4]))
        if path.is_relative_to(point) and len(point.parts) >= len(found.parts):
            found, kind = point, source.split()[0]
    return kind


def _lock(path: Path) -> int:
    """Descriptor of the lock file, which holds the lock until it is closed.

    flock, unlike lockf, also keeps this process from locking twice.
    """
    try:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DatabaseRefused(f"{path}.lock cannot be opened: {error.strerror}.") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(lock, 32).decode() or "unknown"
        os.close(lock)
        raise DatabaseRefused(f"Another server (pid {owner}) uses the database {path}.") from None
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    return lock
