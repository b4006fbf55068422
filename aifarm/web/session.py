"""A browser's log-in: the token in a cookie that no script can read.

What comes with the cookie alone is taken only from the farm's own pages, so that no other page can
act for whoever is logged in.
"""

from tornado.httputil import HTTPServerRequest

from aifarm.web.http import Host, Request, Response

COOKIE = "aifarm_session"
PAGE_HEADER = "X-AIFarm-Page"
"""A page from elsewhere could send it only after asking, and is never allowed to."""

MAX_AGE = 12 * 3600
"""Seconds that a browser keeps it, a working day: what else is served on the same host, at whatever
port, is sent it too."""


async def log_in(request: Request) -> Response:
    """Lets a browser go on as the token that this request came with: its answer sets a cookie that
    only the farm's own pages can use."""
    secret = request.headers.get("Authorization", "").partition(" ")[2].strip()
    if not secret:
        return Response()  # it came with the cookie
    return Response(headers={"Set-Cookie": _cookie(secret, MAX_AGE, request.url)})


async def log_out(request: Request) -> Response:
    """Removes the cookie from the browser. The token itself stays valid."""
    return Response(headers={"Set-Cookie": _cookie("", 0, request.url)})


def secret_of(request: HTTPServerRequest, host: Host) -> str | None:
    """The token that came in the Authorization header, or else in the cookie of an own page."""
    kind, _, secret = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return secret.strip()
    cookie = request.cookies.get(COOKIE)
    return cookie.value if cookie is not None and _of_own_page(request, host) else None


def _of_own_page(request: HTTPServerRequest, host: Host) -> bool:
    origin = request.headers.get("Origin")
    if origin is not None and origin.lower() not in host.origins:
        return False
    if "Upgrade" in request.headers:  # scripts cannot add headers to these, browsers add Origin
        return origin is not None
    return request.method in ("GET", "HEAD") or PAGE_HEADER in request.headers


def _cookie(value: str, age: int, url: str) -> str:
    secure = "; Secure" if url.startswith("https") else ""
    return f"{COOKIE}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"
