"""Cursors of lists: where one goes on, as text that is passed back."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Literal

import msgspec

from aifarm.app.errors import InvalidRequest
from aifarm.app.search import Metric, Order, Position

Listing = Order | Literal["clients", "data", "packages", "tokens"]
"""What a cursor is of: tasks in an order, or a list that has one order only."""


def cursor(listing: Listing, position: Position) -> str:
    """`position` as text that is passed back to go on; good for the same listing only."""
    return urlsafe_b64encode(msgspec.json.encode((listing, position))).decode().rstrip("=")


def position(listing: Listing, text: str) -> Position | None:
    """What `cursor` made; None of "", where a walk begins. Raises InvalidRequest."""
    if not text:
        return None
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        made_for, found = msgspec.json.decode(data, type=tuple[Listing, Position])
    except (ValueError, msgspec.DecodeError):
        raise _refused("This is no cursor of this farm", "next_cursor of an answer") from None
    if made_for != listing or not _fits(listing, found):
        raise _refused(
            "This cursor is of another list, or of another order", "the list it was made for"
        )
    return found


def _fits(listing: Listing, found: Position) -> bool:
    """Whether its values have the types that are compared, and are what a database can hold."""
    number, text = (int, float), str
    match listing:
        case "clients":
            kinds: tuple[object, ...] = (text,)
        case "packages":
            kinds = (text, number, text)
        case "data" | "tokens" | Order("created_at" | "updated_at"):
            kinds = (number, text)
        case Order("title" | "status"):
            kinds = (text, text)
        case Order(Metric()):
            kinds = ((*number, type(None)), text)
        case _:
            kinds = ((*number, type(None)), (text, type(None)), text)
    return len(found) == len(kinds) and all(
        isinstance(value, kind) and "\0" not in str(value)  # type: ignore[arg-type]
        for value, kind in zip(found, kinds, strict=True)
    )


def _refused(problem: str, expected: str) -> InvalidRequest:
    return InvalidRequest(f"{problem}; expected: {expected}.", field="cursor", expected=expected)
