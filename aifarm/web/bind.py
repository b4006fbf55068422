"""Builds Tornado handlers from ROUTES over a host's base class.

The only place that turns an error into JSON, and the only one that reads headers for identity.
"""

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import Any, ClassVar

from tornado.httputil import HTTPHeaders
from tornado.web import HTTPError, RequestHandler, stream_request_body

from aifarm.app.errors import (
    STATUS,
    FarmError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    Unauthorized,
)
from aifarm.app.scopes import Principal
from aifarm.web.http import File, Host, Request, Response, Route, Stream
from aifarm.web.spool import Spool
from aifarm.wire.agent import ErrorBody
from aifarm.wire.codec import WireError, decode_body, decode_query, encode
from aifarm.wire.rest import ErrorEnvelope

log = logging.getLogger(__name__)

METHODS = ("GET", "POST", "PUT", "DELETE")
RETRY_AFTER = {"SERVICE_UNAVAILABLE": "1"}
_PARAM = re.compile(r"\{(\w+)\}")
_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")


def handlers(routes: Iterable[Route], host: Host) -> list[tuple[str, Any, dict[str, Any]]]:
    """(pattern, handler class, its arguments) for Tornado, one per path."""
    by_path: dict[str, dict[str, Route]] = defaultdict(dict)
    for route in routes:
        by_path[route.path][route.method] = route
    return [(pattern(path), _handler(methods), {"host": host}) for path, methods in by_path.items()]


def pattern(path: str) -> str:
    """A path of ROUTES as a regular expression; a parameter never spans a slash."""
    return _PARAM.sub(r"(?P<\1>[^/]+)", path) + "$"


def principal_of(headers: HTTPHeaders, host: Host) -> Principal:
    """Whose token the request carries. Raises Unauthorized."""
    kind, _, secret = headers.get("Authorization", "").partition(" ")
    found = host.facade.authenticate(secret.strip()) if kind.lower() == "bearer" else None
    if found is None:
        raise Unauthorized
    return found


def check_host(header: str, host: Host) -> None:
    """Refuses a Host that is not this farm's name: else any web page could reach a laptop's farm
    by pointing its own name here (DNS rebinding)."""
    name = header.rsplit(":", 1)[0].strip("[]").lower()
    if host.allowed and name not in host.allowed:
        raise InvalidRequest(
            f"This farm does not answer to the name {name!r};"
            " start the server with --allowed-host to add it."
        )


class FarmHandler(RequestHandler):
    """Common to all: identity, the error envelope, headers."""

    host: Host
    methods: ClassVar[dict[str, Route]] = {}

    def initialize(self, host: Host) -> None:
        self.host = host

    def set_default_headers(self) -> None:
        self.set_header("X-API-Version", "2.0" if self._version == 2 else "1.0")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        self.set_header("Cache-Control", "no-store")
        self.clear_header("Server")

    @property
    def _version(self) -> int:
        return 2 if self.request.path.startswith(("/api/v2/", "/v2/")) else 1

    def check_xsrf_cookie(self) -> None:
        """Nothing authenticates by cookie here: identity is the Authorization header."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        self.answer_error(_domain(error, status_code))

    def answer_error(self, error: FarmError) -> None:
        self.set_status(STATUS[error.code])
        self.set_header("Content-Type", "application/json")
        if error.code in RETRY_AFTER:
            self.set_header("Retry-After", RETRY_AFTER[error.code])
        if error.code == "UNAUTHORIZED":
            self.set_header("WWW-Authenticate", "Bearer")
        body = ErrorBody(error.code, error.message, error.details)
        self.finish(encode(ErrorEnvelope(body)))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, FarmError | HTTPError):
            super().log_exception(typ, value, tb)

    async def serve(self, method: str, params: dict[str, str], **body: Any) -> None:
        try:
            route, found = self.accept(method)
            request = self.request_of(route, found, params, **body)
            await self.answer(await route.function(request), route)
        except FarmError as error:
            self.answer_error(error)

    def accept(self, method: str) -> tuple[Route, Principal | None]:
        """Who asks for what, and whether they may."""
        check_host(self.request.host, self.host)
        route = self.methods.get(method)
        found = None
        if route is None or route.scope is not None:
            found = principal_of(self.request.headers, self.host)
        if route is None:
            allowed = ", ".join(sorted(self.methods))
            self.set_header("Allow", allowed)
            raise MethodNotAllowed(f"This address answers {allowed}.")
        if found is not None and route.scope is not None:
            found.need(route.scope)
        if len(self.request.body) > route.max_body and not route.spools:
            raise TooLarge(f"The body is larger than {route.max_body} bytes.")
        return route, found

    def request_of(
        self, route: Route, found: Principal | None, params: dict[str, str], **body: Any
    ) -> Request:
        """What was asked, in the route's shapes. Raises InvalidRequest naming the field."""
        asked = {
            name: [_text(value) for value in values]
            for name, values in self.request.query_arguments.items()
        }
        try:
            return Request(
                host=self.host,
                route=route,
                principal=found,
                params={name: _component(value) for name, value in params.items()},
                query=decode_query(asked, route.query),
                headers=self.request.headers,
                body=self.request.body,
                content=decode_body(self.request.body or b"{}", route.body) if route.body else None,
                **body,
            )
        except WireError as error:
            raise InvalidRequest(error.message, field=error.field) from None

    async def answer(self, response: Response | File | Stream, route: Route) -> None:
        if isinstance(response, File):
            await self.send_file(response)
            return
        if isinstance(response, Stream):
            await self.send_stream(response)
            return
        self.set_status(response.status or route.status)
        for name, value in response.headers.items():
            self.set_header(name, value)
        if response.body is None:
            self.set_status(204)
            self.finish()
            return
        self.set_header("Content-Type", "application/json")
        self.finish(encode(response.body))

    async def send_file(self, file: File) -> None:
        """Streams stored bytes; a Range of one piece is honoured, others get the whole."""
        start, stop = self._range(file.size)
        if (start, stop) != (0, file.size):
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {start}-{stop - 1}/{file.size}")
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", f'attachment; filename="{file.filename}"')
        self.set_header("Content-Length", str(stop - start))
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("ETag", f'"{file.sha256}"')
        artifacts = self.host.facade.artifacts
        async for chunk in self._chunks(artifacts.read(file.key, file.parts, start, stop)):
            self.write(chunk)
            await self.flush()
        self.finish()

    async def send_stream(self, stream: Stream) -> None:
        """An error while nothing is sent yet is answered as one; later ones cut the connection."""
        pieces = self._chunks(stream.pieces)
        first = await anext(pieces, b"")
        self.set_header("Content-Type", stream.content_type)
        self.set_header("Content-Disposition", f'inline; filename="{stream.filename}"')
        self.write(first)
        async for piece in pieces:
            await self.flush()
            self.write(piece)
        self.finish()

    async def _chunks(self, chunks: Any) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        while chunk := await loop.run_in_executor(self.host.executor, next, chunks, None):
            yield chunk

    def _range(self, size: int) -> tuple[int, int]:
        asked = _RANGE.match(self.request.headers.get("Range", ""))
        if asked is None or not (asked[1] or asked[2]):
            return 0, size
        if not asked[1]:
            return max(size - int(asked[2]), 0), size
        start = int(asked[1])
        stop = min(int(asked[2]) + 1, size) if asked[2] else size
        if start >= stop:
            raise InvalidRequest(f"The range is outside the file's {size} bytes.", field="Range")
        return start, stop

    def compute_etag(self) -> None:
        """ETags are contents' hashes, set where there is one."""


class UnknownRoute(FarmHandler):
    """Every address that is no route: the same envelope, and no hint to strangers."""

    async def prepare(self) -> None:
        try:
            check_host(self.request.host, self.host)
            principal_of(self.request.headers, self.host)
            raise NotFound(f"There is no {self.request.path}.")
        except FarmError as error:
            self.answer_error(error)


def _handler(methods: dict[str, Route]) -> type[FarmHandler]:
    spools = any(route.spools for route in methods.values())
    base = SpoolingHandler if spools else FarmHandler
    return type("BoundHandler", (base,), {"methods": methods, **_VERBS})


def _verb(method: str) -> Any:
    async def verb(self: FarmHandler, **params: str) -> None:
        await self.serve(method, params)

    return verb


_VERBS = {method.lower(): _verb(method) for method in (*METHODS, "PATCH", "HEAD", "OPTIONS")}


@stream_request_body
class SpoolingHandler(FarmHandler):
    """A large body goes to a file as it comes, once it is clear who sends it."""

    spool: Spool | None = None

    async def prepare(self) -> None:
        method = self.request.method or ""
        route = self.methods.get(method)
        if route is None or not route.spools:
            return
        try:
            self.accept(method)
        except FarmError as error:
            self.answer_error(error)
            return
        self.request.connection.set_max_body_size(route.max_body)  # type: ignore[union-attr]
        self.spool = Spool(self.host.spool, self.host.executor)

    async def data_received(self, chunk: bytes) -> None:
        if self.spool is not None:
            await self.spool.write(chunk)

    async def serve(self, method: str, params: dict[str, str], **body: Any) -> None:
        if self.spool is not None:
            await self.spool.close()
            body["spooled"] = self.spool.path
        await super().serve(method, params, **body)

    def on_finish(self) -> None:
        if self.spool is not None:
            self.spool.remove()

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self.on_finish()


def _domain(error: Any, status: int) -> FarmError:
    if isinstance(error, FarmError):
        return error
    if isinstance(error, HTTPError):
        by_status = {value: code for code, value in STATUS.items()}
        refusal = FarmError(error.log_message or error.reason or "The request was refused.")
        code = by_status.get(status, "INVALID_REQUEST" if status < 500 else "INTERNAL_ERROR")
        refusal.code = code  # type: ignore[misc]
        return refusal
    return FarmError("Something went wrong in the farm; its log has the details.")


def _text(value: bytes) -> str:
    """What no database can hold is replaced."""
    return value.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _component(value: str) -> str:
    """One component of a path, which Tornado has decoded, once. Refuses what could mean another
    place."""
    if value in ("", ".", "..") or re.search(r"[/\\\0]", value):
        raise NotFound("There is nothing at this address.")
    return value
