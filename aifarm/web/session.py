"""A browser's log-in: a cookie that no script can read stands for the token, and is not it.

What comes with the cookie alone is taken only from the farm's own pages, so that no other page can
act for whoever is logged in.
"""

import secrets

from tornado.httputil import HTTPServerRequest

from aifarm.app import logins
from aifarm.app.facade import digest_of
from aifarm.app.records import LoginRecord
from aifarm.app.scopes import Principal
from aifarm.web.http import Host, Request, Response

COOKIE = "aifarm_session"
PAGE_HEADER = "X-AIFarm-Page"
"""A page from elsewhere could send it only after asking, and is never allowed to."""


async def log_in(request: Request) -> Response:
    """Lets a browser go on as the token that this request came with: its answer sets a cookie that
    only the farm's own pages can use.

    The cookie holds no token. It is valid for 12 hours, for as long as the token is, and until
    the browser logs out.
    """
    if request.by.login is not None:
        return Response()  # it came with the cookie
    secret = secrets.token_urlsafe(32)
    login: LoginRecord = await request.write(logins.log_in(digest_of(secret), request.by))
    age = round(login.expires_at - login.created_at)
    return Response(headers={"Set-Cookie": _cookie(secret, age, request.url)})


async def log_out(request: Request) -> Response:
    """Ends the browser's log-in, closes the sockets that it opened, and removes its cookie. The
    token itself stays valid, and so do other browsers' log-ins."""
    if request.by.login is not None:
        await request.write(logins.log_out(request.by.login))
    return Response(headers={"Set-Cookie": _cookie("", 0, request.url)})


def principal_of(request: HTTPServerRequest, host: Host) -> Principal | None:
    """Who speaks: by the token in the Authorization header, or else by the cookie of an own
    page."""
    kind, _, secret = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return host.facade.authenticate(secret.strip())
    cookie = request.cookies.get(COOKIE)
    if cookie is None or not _of_own_page(request, host):
        return None
    return host.facade.logged_in(cookie.value)


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
