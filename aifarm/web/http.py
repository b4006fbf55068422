"""What a route's function is given and gives back: values, without a handler around them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from aifarm.app.errors import FarmError, InvalidRequest, Unauthorized
from aifarm.app.facade import Facade
from aifarm.app.records import Part
from aifarm.app.scopes import Principal, Scope
from aifarm.app.writer import Operation
from aifarm.wire.codec import WireError, decode_body

T = TypeVar("T")


class Host(Struct, frozen=True):
    """What all routes of one server share. `executor` is for everything that blocks.

    `names`: how URLs name this farm ("host:port"); `allowed`: Host headers that are answered,
    empty for any.
    """

    facade: Facade
    executor: Executor
    spool: Path
    names: frozenset[str]
    allowed: frozenset[str]


class Request(Struct):
    """One request of an authenticated principal. `params`: the parts of the path, decoded once."""

    host: Host
    principal: Principal | None
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    spooled: Path | None = None

    @property
    def facade(self) -> Facade:
        return self.host.facade

    @property
    def by(self) -> Principal:
        if self.principal is None:
            raise Unauthorized
        return self.principal

    def decode(self, shape: type[T]) -> T:
        """The body. Raises InvalidRequest naming the field."""
        try:
            return decode_body(self.body, shape)
        except WireError as error:
            raise InvalidRequest(error.message, field=error.field) from None

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number from the query. Raises InvalidRequest."""
        text = self.query.get(name)
        if text is None:
            return default
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise InvalidRequest(
                f"{name} is a whole number from {low} to {high}.",
                field=name,
                expected=f"{low}..{high}",
            )
        return value

    async def write(self, operation: Operation) -> Any:
        """The operation's value once it is durable. Raises the FarmError it ended with."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def done(value: Any) -> None:
            if future.done():
                return  # the client went away
            if isinstance(value, FarmError):
                future.set_exception(value)
            else:
                future.set_result(value)

        self.facade.submit(operation, done)
        return await future

    async def read(self, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """A blocking call, off the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.host.executor, lambda: function(*args, **options))


class Response(Struct, frozen=True):
    """`body` is a Struct or None for no content."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = {}


class File(Struct, frozen=True):
    """Stored bytes as an answer: streamed, with ranges, as an attachment."""

    key: str
    parts: Sequence[Part]
    size: int
    sha256: str
    filename: str


Function = Callable[[Request], Awaitable[Response | File]]


class Route(Struct, frozen=True):
    """One method at one path. `{name}` in the path is one component. `scope` None: no token.

    `spools`: the body is large and goes to a file, of at most `max_body` bytes.
    """

    method: str
    path: str
    scope: Scope | None
    function: Function
    max_body: int = 1 << 20
    spools: bool = False
