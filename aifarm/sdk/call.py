"""Requests and answers of the farm's API as values, without I/O.

A `Call` says what to send; `interpret` turns what came back into its result or raises. Who sends
it, blocking or not, is the transport's business; `calls` has one for each route.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Generic, TypeVar

import msgspec
from msgspec import UNSET, Struct

from aifarm.sdk.errors import BY_CODE, AIFarmError, InvalidRequest, ServerError, Unauthorized
from aifarm.wire import rest
from aifarm.wire.agent import ErrorBody
from aifarm.wire.codec import explain

T = TypeVar("T")
S = TypeVar("S", bound=Struct)

API = "/api/v2"

Query = dict[str, str | list[str]]
"""A list: the parameter is repeated."""


class Call(Struct, Generic[T], frozen=True, kw_only=True):
    """One request. `repeatable`: sending it twice has the effect of sending it once.
    `patience`: seconds without a byte of the answer."""

    method: str
    path: str
    decode: Callable[[bytes], T]
    query: Query = {}
    body: bytes = b""
    headers: dict[str, str] = {}
    repeatable: bool = True
    patience: float = 60.0


class Answer(Struct, frozen=True):
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def try_later(self) -> bool:
        return self.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the farm asks to wait, or None."""
        try:
            return max(0.0, float(self.headers["retry-after"]))
        except (KeyError, ValueError):
            return None


def interpret(call: Call[T], answer: Answer) -> T:
    """The call's result. Raises the AIFarmError that the answer's error code stands for."""
    if not 200 <= answer.status < 300:
        raise failure(answer)
    try:
        return call.decode(answer.body)
    except msgspec.DecodeError as error:
        raise ServerError(
            f"The answer to {call.method} {call.path} is not what this version of aifarm "
            f"understands ({explain(error).message}): is that address a farm, and as new as this?"
        ) from None


def failure(answer: Answer) -> AIFarmError:
    """The exception for an answer that is an error."""
    try:
        error = msgspec.json.decode(answer.body, type=rest.ErrorEnvelope).error
    except msgspec.DecodeError:
        return ServerError(
            f"The answer was {answer.status} {_phrase(answer.status)}, and not from a farm: "
            "check the URL, and any proxy on the way."
        )
    return from_body(error)


def from_body(error: ErrorBody) -> AIFarmError:
    """The exception for the farm's error envelope, from REST or the live feed."""
    if error.code == Unauthorized.code:
        # The farm's own sentence is for those who sent none; the SDK always sends one.
        return Unauthorized("The farm does not accept this token: it is wrong, expired or revoked.")
    return BY_CODE.get(error.code, ServerError)(error.message, dict(error.details))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(unknown)"


def valid(shape: type[S], **fields: object) -> S:
    """As `exactly`, without the fields that are None."""
    return exactly(
        shape, **{name: UNSET if value is None else value for name, value in fields.items()}
    )


def exactly(shape: type[S], **fields: object) -> S:
    """A request's body or query from the fields that are not UNSET, checked here as the farm
    will. Raises InvalidRequest."""
    given = {name: value for name, value in fields.items() if value is not UNSET}
    try:
        return msgspec.convert(msgspec.to_builtins(given), shape)
    except msgspec.ValidationError as error:
        wrong = explain(error)
        details: dict[str, object] = {"field": wrong.field, "expected": wrong.expected}
        raise InvalidRequest(wrong.message, details) from None
    except TypeError as error:
        raise InvalidRequest(f"Values must be plain JSON: {error}.") from None
