"""Builds Tornado handlers from ROUTES over a host."""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import Any, ClassVar
from urllib.parse import quote

from tornado.httputil import parse_qs_bytes

from aifarm.app.errors import FarmError, InvalidRequest, MethodNotAllowed, NotFound
from aifarm.web.handler import FarmHandler, check_host
from aifarm.web.http import File, Host, Request, Response, Route, Stream
from aifarm.web.spool import Spool
from aifarm.wire.codec import WireError, check_headers, decode_body, decode_query, encode

_PARAM = re.compile(r"\{(\w+)\}")
_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


def handlers(routes: Iterable[Route], host: Host) -> list[tuple[str, Any, dict[str, Any]]]:
    """(pattern, handler class, its arguments) for Tornado, one per path."""
    by_path: dict[str, dict[str, Route]] = defaultdict(dict)
    for route in routes:
        by_path[route.path][route.method] = route
    return [
        (pattern(path), type("Bound", (BoundHandler,), {"methods": methods}), {"host": host})
        for path, methods in by_path.items()
    ]


def pattern(path: str) -> str:
    """A path of ROUTES as a regular expression; no parameter but `{path}` spans a slash."""
    spanning = path.replace("{path}", "(?P<path>.+)")
    return _PARAM.sub(r"(?P<\1>[^/]+)", spanning) + "$"


class BoundHandler(FarmHandler):
    """The routes of one path. HEAD is answered as GET, without the body."""

    methods: ClassVar[dict[str, Route]] = {}
    route: Route | None = None
    spool: Spool | None = None

    def accept(self) -> None:
        method = self.request.method or ""
        route = self.methods.get("GET" if method == "HEAD" else method)
        self.identify(
            open_to_all=all(one.scope is None for one in self.methods.values()),
            metered=route is None or route.metered,
        )
        check_host(self.request.host, self.host)
        if route is None:
            head = ["HEAD"] if "GET" in self.methods else []
            allowed = ", ".join(sorted([*self.methods, *head]))
            self.set_header("Allow", allowed)
            raise MethodNotAllowed(f"This address answers {allowed}.")
        self.check_version()
        if self.principal is not None and route.scope is not None:
            self.principal.need(route.scope)
        self.route = route
        self.max_body = route.max_body

    async def keep(self, chunk: bytes) -> None:
        """A large body goes to a file as it comes."""
        if self.route is None or not self.route.spools:
            await super().keep(chunk)
            return
        if self.spool is None:
            self.spool = Spool(self.host.spool, self.host.executor)
        await self.spool.write(chunk)

    async def serve(self, params: dict[str, str]) -> None:
        try:
            if self.refusal is not None or self.route is None:
                raise self.refusal or NotFound
            if self.route.spools and self.spool is None:
                await self.keep(b"")
            if self.spool is not None:
                await self.spool.close()
            request = self.request_of(self.route, params)
            await self.answer(await self.route.function(request))
        except FarmError as error:
            if self._headers_written:  # half an answer is cut off
                raise
            self.answer_error(error)

    def request_of(self, route: Route, params: dict[str, str]) -> Request:
        """What was asked, in the route's shapes. Raises InvalidRequest naming the field."""
        body = b"".join(self.chunks)
        url = f"{self.request.protocol}://{self.request.host}{self.request.path}"
        query = self._query()
        try:
            check_headers(self.request.headers, route.headers)
            return Request(
                host=self.host,
                route=route,
                principal=self.principal,
                url=url,
                params=_checked(params),
                query=decode_query(query, route.query),
                headers=self.request.headers,
                body=body,
                content=_content(body, route),
                spooled=self.spool.path if self.spool is not None else None,
            )
        except WireError as error:
            raise InvalidRequest.of(error, "body") from None

    def _query(self) -> dict[str, list[str]]:
        """The values of each parameter, as text. Raises InvalidRequest naming it."""
        if _BAD_PERCENT.search(self.request.uri or ""):
            words = "A % in an address is followed by two hexadecimal digits."
            raise InvalidRequest(words, field="path", expected="percent-encoded UTF-8")
        found = parse_qs_bytes(self.request.query, keep_blank_values=True)
        asked = {}
        for name, values in found.items():
            try:
                asked[name] = [value.decode() for value in values]
            except UnicodeDecodeError:
                words = "A parameter is not UTF-8."
                raise InvalidRequest(words, field=name, expected="percent-encoded UTF-8") from None
            if any("\0" in value for value in asked[name]):
                words = "A parameter has NUL in it."
                raise InvalidRequest(words, field=name, expected="text without NUL")
        return asked

    async def answer(self, response: Response | File | Stream) -> None:
        assert self.route is not None  # noqa: S101  it has just answered
        if isinstance(response, File):
            await self.send_file(response)
            return
        if isinstance(response, Stream):
            await self.send_stream(response, self.route.answer)
            return
        self.set_status(response.status or self.route.status)
        raw = isinstance(self.route.answer, str)
        self.set_header("Content-Type", self.route.answer if raw else "application/json")
        for name, value in response.headers.items():
            self.set_header(name, value)
        if response.body is None:
            self.set_status(204)
            self.finish()
            return
        self.finish(response.body if raw else encode(response.body))

    async def send_file(self, file: File) -> None:
        """Streams stored bytes; a Range of one piece is honoured, others get the whole.

        An error while nothing is sent yet is answered as one; later ones cut the connection.
        """
        etag = f'"{file.sha256}"'
        start, stop = self._range(file.size, etag)
        chunks = self._chunks(self.host.facade.artifacts.read(file.key, file.parts, start, stop))
        first = b"" if self.request.method == "HEAD" else await anext(chunks, b"")
        if (start, stop) != (0, file.size):
            self.set_status(206)
            self.set_header("Content-Range", f"bytes {start}-{stop - 1}/{file.size}")
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("Content-Disposition", _attachment(file.filename))
        self.set_header("Content-Length", str(stop - start))
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("ETag", etag)
        if self.request.method == "HEAD":
            await self.flush()  # with the length above, which `finish` alone would count anew
            self.finish()
            return
        self.write(first)
        async for chunk in chunks:
            await self.flush()
            self.write(chunk)
        self.finish()

    async def send_stream(self, stream: Stream, media_type: Any) -> None:
        """An error while nothing is sent yet is answered as one; later ones cut the connection."""
        pieces = self._chunks(stream.pieces)
        first = await anext(pieces, b"")
        self.set_header("Content-Type", media_type)
        kind = "attachment" if stream.saved else "inline"
        self.set_header("Content-Disposition", f'{kind}; filename="{stream.filename}"')
        self.write(first)
        async for piece in pieces:
            await self.flush()
            self.write(piece)
        self.finish()

    async def _chunks(self, chunks: Any) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        while chunk := await loop.run_in_executor(self.host.executor, next, chunks, None):
            yield chunk

    def _range(self, size: int, etag: str) -> tuple[int, int]:
        if self.request.headers.get("If-Range", etag) != etag:
            return 0, size
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

    def on_finish(self) -> None:
        if self.spool is not None:
            self.spool.remove()

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self.on_finish()


class UnknownRoute(FarmHandler):
    """Every address that is no route: the same envelope, and no hint to strangers."""

    def accept(self) -> None:
        super().accept()
        raise NotFound(f"There is no {self.request.path[:500]}.")


def _attachment(filename: str) -> str:
    """Content-Disposition for a name that may hold anything (RFC 6266)."""
    if re.fullmatch(r"[\w.+-]+", filename, re.ASCII):
        return f'attachment; filename="{filename}"'
    return f"attachment; filename*=UTF-8''{quote(filename, safe='')}"


def _content(body: bytes, route: Route) -> Any:
    """The JSON body in the route's shape; None where it takes none, or bytes."""
    shape = route.body
    if shape is None or isinstance(shape, str):
        return None
    return decode_body(body or b"{}", shape)


def _checked(params: dict[str, str]) -> dict[str, str]:
    """The parts of the path, which Tornado has decoded, once. Refuses what could mean another
    place."""
    for name, value in params.items():
        for component in value.split("/") if name == "path" else [value]:
            if component in ("", ".", "..") or re.search(r"[/\\\0]", component):
                raise NotFound("There is nothing at this address.")
    return params
