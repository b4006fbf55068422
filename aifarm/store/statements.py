"""SQL text compiled once from the tables, for the writer's hot path.

Rows go as tuples to `executemany`: SQLAlchemy's own way to a statement costs more than SQLite
takes to run it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import ClauseElement, Column, Connection, Dialect

Encoder = Callable[[Any], Any]


class Statement:
    """`columns`: one per parameter, in the order in which values are given."""

    def __init__(
        self, statement: ClauseElement, columns: Iterable[Column[Any]], dialect: Dialect
    ) -> None:
        self._sql = str(statement.compile(dialect=dialect))
        self._encoders: list[tuple[int, Encoder]] = []
        for at, column in enumerate(columns):
            encode = column.type.dialect_impl(dialect).bind_processor(dialect)
            if encode is not None:
                self._encoders.append((at, encode))

    def many(self, connection: Connection, rows: Sequence[list[Any]]) -> int:
        """Runs it for each row, whose values it encodes in place. Returns how many rows matched."""
        if not rows:
            return 0
        for at, encode in self._encoders:
            for row in rows:
                row[at] = encode(row[at])
        return connection.exec_driver_sql(self._sql, [tuple(row) for row in rows]).rowcount

    def fetch(self, connection: Connection, *values: Any) -> Sequence[Any]:
        """Rows as the driver gives them."""
        return connection.exec_driver_sql(self._sql, values).fetchall()
