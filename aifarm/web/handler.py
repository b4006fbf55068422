"""What all handlers have in common: who asks and how often, bodies within limits, one envelope.

The only place that turns an error into JSON, and the only one that reads headers for identity.
"""

import sys
from typing import Any
from urllib.parse import urlsplit

from tornado.web import HTTPError, RequestHandler, stream_request_body

from aifarm.app.errors import (
    STATUS,
    FarmError,
    InvalidRequest,
    MethodNotAllowed,
    RateLimited,
    TooLarge,
    Unauthorized,
)
from aifarm.app.limits import Allowance
from aifarm.app.scopes import Principal
from aifarm.web import session
from aifarm.web.http import Host
from aifarm.wire.agent import ErrorBody
from aifarm.wire.codec import encode
from aifarm.wire.requests import MAX_BODY
from aifarm.wire.rest import ErrorEnvelope

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
RETRY_AFTER = {"SERVICE_UNAVAILABLE": 1, "RATE_LIMITED": 10}
VERSIONS = {"1": "1.0", "1.0": "1.0", "2": "2.0", "2.0": "2.0"}
"""What X-API-Version may say, and the version that it means."""

POLICY = "default-src 'none'; frame-ancestors 'none'"


def check_host(header: str, host: Host) -> None:
    """Refuses a Host that is not this farm's name: else any web page could reach a laptop's farm
    by pointing its own name here (DNS rebinding)."""
    try:
        name = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        name = header
    if host.allowed and name not in host.allowed:
        raise InvalidRequest(
            f"This farm does not answer to the name {name[:255]!r};"
            " start the server with --allowed-host to add it.",
            field="Host",
            expected="a name of this farm",
        )


def version_of(path: str) -> str | None:
    """The version that a path belongs to; None where it has none."""
    if path.startswith(("/api/v2/", "/v2/")):
        return "2.0"
    versioned = path.startswith(("/api/", "/v1/")) and path != "/api/health"
    return "1.0" if versioned else None


def envelope(error: FarmError) -> bytes:
    return encode(ErrorEnvelope(ErrorBody(error.code, error.message, error.details)))


@stream_request_body
class FarmHandler(RequestHandler):
    """`prepare` settles whether the request is accepted before its body is read, `serve` answers.

    A body that is refused is read to its end where it is small, so that the connection lives on;
    before a large one the answer comes at once, and the connection is closed.
    """

    host: Host
    principal: Principal | None = None
    allowance: Allowance | None = None
    refusal: FarmError | None = None
    max_body = MAX_BODY

    def initialize(self, host: Host) -> None:
        self.host = host
        self.received = 0
        self.chunks: list[bytes] = []

    def set_default_headers(self) -> None:
        asked = VERSIONS.get(self.request.headers.get("X-API-Version", ""), "1.0")
        self.set_header("X-API-Version", version_of(self.request.path) or asked)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("Cache-Control", "no-store")
        self.clear_header("Server")
        for name, value in self.allowance.headers.items() if self.allowance else ():
            self.set_header(name, value)

    def check_xsrf_cookie(self) -> None:
        """What a cookie may do is settled with the identity: see `session`."""

    def compute_etag(self) -> None:
        """ETags are contents' hashes, set where there is one."""

    # ------------------------------------------------------------ before the body

    async def prepare(self) -> None:
        self.request.connection.set_max_body_size(sys.maxsize)  # type: ignore[union-attr]
        length = self.request.headers.get("Content-Length", "")
        declared = int(length) if length.isdecimal() else 0
        try:
            self.accept()
            if declared > self.max_body:
                raise self._too_large()
        except FarmError as error:
            self.refuse(error, at_once=declared > MAX_BODY)

    def accept(self) -> None:
        """Whether this may be asked, by this principal, now. Raises FarmError."""
        self.identify()
        check_host(self.request.host, self.host)

    def identify(self, *, open_to_all: bool = False, metered: bool = True) -> None:
        """Whose token the request carries, counted. Raises Unauthorized, RateLimited."""
        facade, address = self.host.facade, self.request.remote_ip or ""
        if not open_to_all:
            self.principal = session.principal_of(self.request, self.host)
        if open_to_all:
            self.allowance = facade.limits.open(address)
        elif self.principal is None:
            self.allowance = facade.limits.failed(address)
        else:
            cost = 1 if metered else 0
            self.allowance = facade.limits.known(self.principal.token_id, cost)
        for name, value in self.allowance.headers.items():
            self.set_header(name, value)
        if metered and not self.allowance.granted:
            raise RateLimited(retry_after=self.allowance.retry_after)
        if not open_to_all and self.principal is None:
            raise Unauthorized

    def check_version(self) -> None:
        """Whether X-API-Version, where it is sent, is one that the path is of."""
        asked = self.request.headers.get("X-API-Version")
        path = version_of(self.request.path)
        if asked is None or (asked in VERSIONS and path in (None, VERSIONS[asked])):
            return
        known = path or "1.0 or 2.0"
        raise InvalidRequest(
            f"This address is of version {known}, not {asked[:20]!r}: send X-API-Version: {known},"
            " or leave it out.",
            field="X-API-Version",
            expected=known,
        )

    # ------------------------------------------------------------ the body

    async def data_received(self, chunk: bytes) -> None:
        self.received += len(chunk)
        if self.refusal is not None:
            if self.received > MAX_BODY:
                self.refuse(self.refusal, at_once=True)
            return
        try:
            if self.received > self.max_body:
                raise self._too_large()
            await self.keep(chunk)
        except FarmError as error:
            self.refuse(error, at_once=True)

    async def keep(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    def _too_large(self) -> TooLarge:
        words = f"The body is larger than {self.max_body} bytes."
        return TooLarge(words, field="body", expected=f"at most {self.max_body} bytes")

    # ------------------------------------------------------------ the answer

    def refuse(self, error: FarmError, *, at_once: bool) -> None:
        """Answers with `error`: at once, or when the body is read."""
        self.refusal = error
        if at_once and not self._finished:
            self.set_header("Connection", "close")
            self.answer_error(error)

    async def serve(self, params: dict[str, str]) -> None:
        """What is accepted has no answer but that of a subclass."""
        self.answer_error(self.refusal or MethodNotAllowed())

    def answer_error(self, error: FarmError) -> None:
        self.set_status(STATUS[error.code])
        self.set_header("Content-Type", "application/json")
        if error.code in RETRY_AFTER:
            wait = error.details.get("retry_after", RETRY_AFTER[error.code])
            self.set_header("Retry-After", str(wait))
        if error.code == "UNAUTHORIZED":
            self.set_header("WWW-Authenticate", "Bearer")
        self.finish(envelope(error))

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """An answer that is half sent is cut off: finished, it would look whole."""
        if self._headers_written and not self._finished:
            self.request.connection.close()  # type: ignore[union-attr]
        else:
            super().send_error(status_code, **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """What Tornado, or a mistake of ours, ended with. The body may not be read: the connection
        is closed, and says so."""
        self.set_header("Connection", "close")
        refusal = self.refusal
        if self.allowance is None:  # it never came to `prepare`
            try:
                self.accept()
            except FarmError as error:
                refusal = error
        raised = kwargs.get("exc_info", (None, None, None))[1]
        self.answer_error(refusal or _domain(raised, status_code))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, FarmError | HTTPError):
            super().log_exception(typ, value, tb)


def _verb() -> Any:
    async def verb(self: FarmHandler, **params: str) -> None:
        await self.serve(params)

    return verb


for _method in METHODS:
    setattr(FarmHandler, _method.lower(), _verb())


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
