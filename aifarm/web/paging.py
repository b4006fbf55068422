"""Parts of lists: by page, with totals and Link headers, as the contract has it, or by cursor."""

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar
from urllib.parse import urlencode

from msgspec import to_builtins

from aifarm.app import ports
from aifarm.app.cursors import Listing, cursor, position
from aifarm.app.errors import InvalidRequest
from aifarm.app.search import Position
from aifarm.web.http import Request

T = TypeVar("T")


class Page(NamedTuple):
    number: int
    limit: int
    query: dict[str, Any]
    url: str

    def headers(self, total: int) -> dict[str, str]:
        """X-Total-Count, X-Page-Count and Link, with the filters kept."""
        pages = max(1, -(-total // self.limit))
        links = {"first": 1, "last": pages}
        if self.number > 1:
            links["prev"] = min(self.number - 1, pages)
        if self.number < pages:
            links["next"] = self.number + 1
        return {
            "X-Total-Count": str(total),
            "X-Page-Count": str(pages),
            "Link": ", ".join(f'<{self._url(page)}>; rel="{rel}"' for rel, page in links.items()),
        }

    def _url(self, page: int) -> str:
        query = urlencode({**self.query, "page": page, "limit": self.limit}, doseq=True)
        return f"{self.url}?{query}"


def page_of(request: Request) -> tuple[Page, int]:
    """The page asked for, and how long it is."""
    query = request.query
    return Page(query.page, query.limit, to_builtins(query), request.url), query.limit


class Part(NamedTuple, Generic[T]):
    """What is answered of a list. In a walk by cursor `total` and `page` are None: nobody counts.

    `headers` are those of a page."""

    items: list[T]
    total: int | None
    page: int | None
    next_cursor: str | None
    headers: dict[str, str]


class Read(Protocol[T]):
    """Reads a part of a list: from the `offset`-th entry on, or from what comes behind `after`."""

    def __call__(
        self, *, offset: int = 0, after: Position | None = None, limit: int, counted: bool = True
    ) -> Awaitable[ports.Page[T]]: ...


async def part_of(request: Request, listing: Listing, read: Read[T]) -> Part[T]:
    """The page that is asked for, or the step of a walk. Raises InvalidRequest."""
    query = request.query
    if query.cursor is None:
        page, limit = page_of(request)
        found = await read(offset=(page.number - 1) * limit, limit=limit)
        assert found.total is not None  # noqa: S101  it was counted
        number, headers = page.number, page.headers(found.total)
    elif query.page != 1:
        raise InvalidRequest("Give a page or a cursor, not both.", field="cursor")
    else:
        after = position(listing, query.cursor)
        found = await read(after=after, limit=query.limit, counted=False)
        number, headers = None, {}
    following = cursor(listing, found.following) if found.following else None
    return Part(found.items, found.total, number, following, headers)


def at_hand(items: Iterable[T], key: Callable[[T], Position]) -> Read[T]:
    """Reads a list that is in memory; `key` is what it is sorted by."""
    rows = sorted(items, key=key)

    async def read(
        *, offset: int = 0, after: Position | None = None, limit: int, counted: bool = True
    ) -> ports.Page[T]:
        first = offset if after is None else bisect_right(rows, after, key=key)
        found = rows[first : first + limit]
        following = key(found[-1]) if first + limit < len(rows) else None
        return ports.Page(found, len(rows) if counted else None, following)

    return read
