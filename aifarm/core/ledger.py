"""The undo log of the writer's memory: what each changed entry was before."""

from collections.abc import Callable
from typing import Any

Entry = tuple[dict[Any, Any], Any, Any]
"""(table, key, value before; None if there was none)"""

Write = Callable[[dict[Any, Any], Any, Any], None]


def _write(table: dict[Any, Any], key: Any, value: Any) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


class Ledger:
    """Changes tables (dicts of immutable values) and can take the changes back.

    `write` puts one value into one table (None: removes it); one may be given that keeps indexes
    as well.
    """

    def __init__(self, write: Write = _write) -> None:
        self._write = write
        self.entries: list[Entry] = []

    def put(self, table: dict[Any, Any], key: Any, value: Any) -> None:
        self.entries.append((table, key, table.get(key)))
        self._write(table, key, value)

    def mark(self) -> int:
        return len(self.entries)

    def rollback(self, mark: int) -> None:
        """Undoes everything since `mark`, in reverse order."""
        for table, key, before in reversed(self.entries[mark:]):
            self._write(table, key, before)
        del self.entries[mark:]

    def touched(self) -> list[tuple[dict[Any, Any], Any]]:
        """(table, key) of everything that changed since the last `clear`, once each."""
        seen = {(id(table), key): (table, key) for table, key, _ in self.entries}
        return list(seen.values())

    def clear(self) -> None:
        self.entries.clear()
