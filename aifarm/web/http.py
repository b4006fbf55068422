"""What a route's function is given and gives back: values, without a handler around them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct, field

from aifarm.app.errors import Unauthorized
from aifarm.app.facade import Facade
from aifarm.app.records import Part
from aifarm.app.scopes import Principal, Scope
from aifarm.app.writer import Operation
from aifarm.web.monitor import Monitor
from aifarm.web.turns import Turns
from aifarm.wire.query import Query
from aifarm.wire.requests import MAX_BODY

T = TypeVar("T")


class Host(Struct, frozen=True):
    """What all routes of one server share. `executor` is for everything that blocks.

    `names`: how URLs name this farm ("host:port"); `allowed`: Host headers that are answered,
    empty for any; `origins`: what a browser's Origin may be, exactly. `started`: on the monotonic
    clock. `turns`: of those that write the same file.
    """

    facade: Facade
    executor: Executor
    spool: Path
    names: frozenset[str]
    allowed: frozenset[str]
    monitor: Monitor
    started: float
    origins: frozenset[str]
    turns: Turns = field(default_factory=Turns)


class Request(Struct):
    """One request of an authenticated principal. `params`: the parts of the path, decoded once.

    `url` is the address asked for, as the client named it and without its query. `query` and
    `content` (the JSON body) have the shapes that the route names; `body` is the bytes.
    """

    host: Host
    route: "Route"
    principal: Principal | None
    url: str
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
    """`body` is a Struct, bytes of the route's media type, or None for no content.

    `status`: None is the route's. `headers` win over those that every answer has.
    """

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
    """Bytes made piece by piece, none of them empty, off the event loop, as fast as the reader
    takes them. `saved`: a browser is to save them, not to show them."""

    pieces: Iterator[bytes]
    filename: str
    saved: bool = False


Function = Callable[[Request], Awaitable[Response | File | Stream]]


class Route(Struct, frozen=True):
    """One method at one path. `{name}` in the path is one component; `{path}`, at its end, is all
    that follow. `scope` None: no token.

    What the reference says of it stands here too. `body` and `answer` are the Structs of JSON, or
    the media types of bytes, or None for nothing. `status` is that of success, `also` what else is
    one; `headers` of the request that count here. The function's docstring tells what it does.
    `spools`: the body is large and goes to a file, of at most `max_body` bytes.
    `metered`: it counts against the rate limit; parts of an upload do not, since its begin did.
    """

    method: str
    path: str
    scope: Scope | None
    function: Function
    answer: type[Struct] | str | None = None
    body: type[Struct] | str | None = None
    query: type[Query] = Query
    status: int = 200
    also: tuple[int, ...] = ()
    headers: tuple[str, ...] = ()
    max_body: int = MAX_BODY
    spools: bool = False
    metered: bool = True
