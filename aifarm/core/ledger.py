"""The undo log of `Farm`: what each changed entry was before."""

from typing import Any

Entry = tuple[dict[Any, Any], Any, Any]
"""(table, key, value before; None if there was none)"""


class Ledger:
    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def record(self, table: dict[Any, Any], key: Any, before: Any) -> None:
        self._entries.append((table, key, before))

    def mark(self) -> int:
        return len(self._entries)

    def since(self, mark: int) -> list[Entry]:
        """Takes the entries made after `mark` off the log, latest first."""
        taken = self._entries[mark:]
        del self._entries[mark:]
        return taken[::-1]

    def touched(self) -> list[tuple[dict[Any, Any], Any]]:
        seen = {(id(table), key): (table, key) for table, key, _ in self._entries}
        return list(seen.values())

    def clear(self) -> None:
        self._entries.clear()
