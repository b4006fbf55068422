"""Domain errors. The docstring is the message unless one is given; `code` is the contract's."""

from typing import ClassVar, Self

from aifarm.wire.codec import WireError
from aifarm.wire.types import JSON

STATUS = {
    "INVALID_REQUEST": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "CONFLICT": 409,
    "PAYLOAD_TOO_LARGE": 413,
    "RATE_LIMITED": 429,
    "INTERNAL_ERROR": 500,
    "SERVICE_UNAVAILABLE": 503,
}
"""Code to HTTP status: the contract's table and DESIGN's additions (section 5)."""


MAX_SENTENCE = 1_000
"""Characters of an error's message."""


class FarmError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(self, message: str = "", **details: JSON) -> None:
        # It may quote what was sent, and that may be long.
        self.message = (message or (type(self).__doc__ or "").strip())[:MAX_SENTENCE]
        self.details = details
        super().__init__(self.message)


class InvalidRequest(FarmError):
    """The request is not valid."""

    code = "INVALID_REQUEST"

    @classmethod
    def of(cls, error: WireError, whole: str) -> Self:
        """What could not be decoded. `whole`: the field to name where no part of it is."""
        return cls(error.message, field=error.field or whole, expected=error.expected)


class Unauthorized(FarmError):
    """A valid token is needed: send `Authorization: Bearer <token>`."""

    code = "UNAUTHORIZED"


class Forbidden(FarmError):
    """This token may not do that."""

    code = "FORBIDDEN"


class NotFound(FarmError):
    """There is nothing here."""

    code = "NOT_FOUND"


class MethodNotAllowed(FarmError):
    """This address does not answer that method."""

    code = "METHOD_NOT_ALLOWED"


class Conflict(FarmError):
    """That contradicts what is already so."""

    code = "CONFLICT"


class TooLarge(FarmError):
    """That is larger than the farm accepts."""

    code = "PAYLOAD_TOO_LARGE"


class RateLimited(FarmError):
    """Too many requests; wait as long as Retry-After says."""

    code = "RATE_LIMITED"


class Unavailable(FarmError):
    """The farm cannot store that now; try again soon."""

    code = "SERVICE_UNAVAILABLE"


class Deposed(Unavailable):
    """This server may not write any more; another one does, or will soon."""
