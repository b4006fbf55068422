"""What a route's function is given and gives back: values, without a handler around them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from msgspec import Struct, field

from aifarm.app.errors import Unauthorized
from aifarm.app.facade import Facade
from aifarm.app.records import Part
from aifarm.app.scopes import Principal, Scope
from aifarm.app.writer import Operation
from aifarm.wire.query import Query
from aifarm.wire.rest import MAX_BODY

T = TypeVar("T")


class Reader(Protocol):
    def close(self, code: int, reason: str) -> None: ...


class Host(Struct, frozen=True):
    """What all routes of one server share. `executor` is for everything that blocks.

    `names`: how URLs name this farm ("host:port"); `allowed`: Host headers that are answered,
    empty for any. `readers`: the open sockets of the live feed.
    """

    facade: Facade
    executor: Executor
    spool: Path
    names: frozenset[str]
    allowed: frozenset[str]
    readers: set[Reader] = field(default_factory=set)

    def close_readers(self) -> None:
        """They connect again, and find who leads the farm."""
        for reader in list(self.readers):
            reader.close(1001, "the server is shutting down")


class Request(Struct):
    """One request of an authenticated principal. `params`: the parts of the path, decoded once.

    `query` and `content` (the JSON body) have the shapes that the route names; `body` is the bytes.
    """

    host: Host
    route: "Route"
    principal: Principal | None
    params: Mapping[str, str]
    query: Any
    headers: Mapping[str, str]
    body: bytes
    content: Any = None
    spooled: Path | None = None

    @property
    def facade(self) -> Facade:
        return self.host.facade

    @property
    def by(self) -> Principal:
        if self.principal is None:
            raise Unauthorized
        return self.principal

    async def write(self, operation: Operation) -> Any:
        """The operation's value once it is durable. Raises the FarmError it ended with."""
        return await self.facade.write(operation)

    async def read(self, function: Callable[..., T], *args: Any, **options: Any) -> T:
        """A blocking call, off the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.host.executor, lambda: function(*args, **options))


class Response(Struct, frozen=True):
    """`body` is a Struct or None for no content. `status`: None is the route's."""

    body: Any = None
    status: int | None = None
    headers: Mapping[str, str] = {}


class File(Struct, frozen=True):
    """Stored bytes as an answer: streamed, with ranges, as an attachment."""

    key: str
    parts: Sequence[Part]
    size: int
    sha256: str
    filename: str


class Stream(Struct, frozen=True):
    """Text made piece by piece, none of them empty, off the event loop, as fast as the reader
    takes it."""

    pieces: Iterator[bytes]
    content_type: str
    filename: str


Function = Callable[[Request], Awaitable[Response | File | Stream]]


class Route(Struct, frozen=True):
    """One method at one path. `{name}` in the path is one component. `scope` None: no token.

    What the reference says of it stands here too: `body` and `answer` are the Structs of the JSON
    bodies (None: bytes or nothing), `status` is that of success, and the function's docstring
    tells what it does. `spools`: the body is large and goes to a file, of at most `max_body` bytes.
    """

    method: str
    path: str
    scope: Scope | None
    function: Function
    answer: type[Struct] | None = None
    body: type[Struct] | None = None
    query: type[Query] = Query
    status: int = 200
    max_body: int = MAX_BODY
    spools: bool = False
