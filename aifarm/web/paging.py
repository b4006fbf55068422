"""Pages of lists, as the contract has them: page, limit, totals and Link headers."""

from typing import Any, NamedTuple
from urllib.parse import urlencode

from msgspec import to_builtins

from aifarm.web.http import Request


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
