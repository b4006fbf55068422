"""These pages, drawn from the code that answers."""

from base64 import b64encode
from functools import cache
from hashlib import sha256

from msgspec import json

from aifarm.web import page
from aifarm.web.asyncapi import asyncapi
from aifarm.web.http import Request, Response
from aifarm.web.openapi import Document, openapi


async def rest(_: Request) -> Response:
    """Describes this API as an OpenAPI 3.1 document."""
    return Response(json.encode(_openapi()))


async def sockets(_: Request) -> Response:
    """Describes the agents' socket and the live feed as an AsyncAPI 3.0 document."""
    return Response(json.encode(asyncapi()))


async def human(_: Request) -> Response:
    """Shows this reference as a page for people.

    No token is needed: it is the same on every farm and tells nothing of this one.
    """
    return Response(_page(), headers={"Content-Security-Policy": _policy()})


@cache
def _openapi() -> Document:
    from aifarm.web.routes import BASES, ROUTES  # which name this module's functions

    return openapi(ROUTES, BASES)


@cache
def _page() -> bytes:
    return page.html(_openapi()).encode()


@cache
def _policy() -> str:
    """Nothing but the page's own style sheet is loaded, and no script runs."""
    style = b64encode(sha256(page.STYLE.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{style}';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
