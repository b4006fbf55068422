"""Who may speak to the farm; for administrators."""

import secrets

from msgspec.structs import replace

from aifarm.app import operations, views
from aifarm.app.facade import digest_of
from aifarm.web.http import Request, Response
from aifarm.web.paging import at_hand, part_of
from aifarm.wire import rest


def new_secret() -> str:
    """256 random bits."""
    return f"aifarm_{secrets.token_urlsafe(32)}"


async def list_all(request: Request) -> Response:
    """Lists the tokens, the oldest first: whose, for which role, until when. Secrets are not kept.
    By page, or by cursor as the list of tasks."""
    tokens = at_hand(request.facade.view.tokens, lambda token: (token.created_at, token.id))
    part = await part_of(request, "tokens", tokens)
    shown = [views.token_full(token) for token in part.items]
    body = rest.TokenList(shown, part.total, part.page, part.next_cursor)
    return Response(body, headers=part.headers)


async def create(request: Request) -> Response:
    """Makes a token. This answer is the only one that ever shows its secret."""
    body = request.content
    secret = new_secret()
    record = await request.write(operations.create_token(body, digest_of(secret), request.by))
    return Response(replace(views.token_full(record), token=secret))


async def revoke(request: Request) -> Response:
    """Revokes a token: connections that use it are closed at once.

    Repeats are fine.
    """
    await request.write(operations.revoke_token(request.params["token_id"], request.by))
    return Response()


async def mine(request: Request) -> Response:
    """The token that this request came with, without its secret: whose it is, its role, and until
    when it is valid."""
    tokens = request.facade.view.tokens
    own = next(token for token in tokens if token.id == request.by.token_id)
    return Response(views.token_full(own))
