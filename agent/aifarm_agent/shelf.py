"""What lies in the cache, and what has to go for something new. Pure."""

from collections.abc import Collection
from itertools import count
from typing import NamedTuple


class NoRoom(Exception):
    """What is in use leaves no room for it now."""


class _Kept(NamedTuple):
    size: int
    used: int


class Shelf:
    """Sizes in bytes; together at most `limit`. What was used longest ago goes first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: dict[str, _Kept] = {}
        self._clock = count()

    @property
    def size(self) -> int:
        return sum(kept.size for kept in self._kept.values())

    def __contains__(self, name: str) -> bool:
        return name in self._kept

    def put(self, name: str, size: int, in_use: Collection[str] = ()) -> list[str]:
        """Gives `name` room for `size` bytes, whatever it had, and returns what must go for it.

        Raises NoRoom, and then `name` is not there, and all else is.
        """
        self._kept.pop(name, None)
        going = self._surplus(size, in_use)
        if self.size + size - sum(self._kept[other].size for other in going) > self.limit:
            raise NoRoom
        for other in going:
            del self._kept[other]
        self.keep(name, size)
        return going

    def keep(self, name: str, size: int) -> None:
        """It is there, used last of all, whether there is room or not."""
        self._kept[name] = _Kept(size, next(self._clock))

    def trim(self, in_use: Collection[str]) -> list[str]:
        """What goes, until the rest fits or is in use."""
        going = self._surplus(0, in_use)
        for name in going:
            del self._kept[name]
        return going

    def _surplus(self, need: int, in_use: Collection[str]) -> list[str]:
        """What would make room for `need` bytes, if anything does."""
        excess = self.size + need - self.limit
        going = []
        for name in sorted(self._kept, key=lambda name: self._kept[name].used):
            if excess > 0 and name not in in_use:
                excess -= self._kept[name].size
                going.append(name)
        return going

    def use(self, name: str) -> None:
        """It is wanted again."""
        self._kept[name] = self._kept[name]._replace(used=next(self._clock))

    def drop(self, name: str) -> None:
        self._kept.pop(name, None)
