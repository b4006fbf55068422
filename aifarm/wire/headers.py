"""Request headers that routes name: what they mean, and what may stand in them."""

from typing import Any

from msgspec import Struct

from aifarm.wire.types import IdempotencyKey, Name, Sha256


class Header(Struct, frozen=True):
    """`shape`: the type of its text."""

    about: str
    shape: Any
    required: bool = False


HEADERS = {
    "Idempotency-Key": Header(
        "The same key with the same body makes one thing, however often it is sent; with another"
        " body it is a conflict.",
        IdempotencyKey,
    ),
    "Range": Header("One range of bytes, `bytes=FIRST-LAST`; anything else gets the whole.", str),
    "Client-ID": Header("The client that speaks, which the token belongs to.", Name, required=True),
    "X-Content-SHA256": Header(
        "The hash of the body, in hex: bytes damaged on their way are refused.", Sha256
    ),
}
