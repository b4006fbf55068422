"""Whose a Client-ID is: the token's that used it first, while that token is valid."""

from msgspec.structs import replace

from aifarm.app.draft import Draft
from aifarm.app.errors import Forbidden
from aifarm.app.records import ClientRecord, TokenRecord


def owned(draft: Draft, client_id: str, token_id: str, limit: int) -> ClientRecord:
    """The client as this token's: known, new, or taken over from a token that is valid no more.

    Raises Forbidden where it is another's, or one more than the `limit` that a token may have.
    """
    record = draft.clients.get(client_id)
    if record is not None and record.token_id == token_id:
        return record
    if record is not None and _valid(draft.tokens.get(record.token_id), draft.at):
        raise Forbidden(f"Client-ID {client_id} belongs to another token.")
    if sum(one.token_id == token_id for one in draft.clients.values()) >= limit:
        raise Forbidden(
            f"This token has {limit} clients already: `aifarm forget` those that are retired, or"
            " start the server with a larger --clients-per-token."
        )
    if record is not None:
        return replace(record, token_id=token_id)
    return ClientRecord(client_id, token_id, draft.at, draft.at)


def _valid(token: TokenRecord | None, at: float) -> bool:
    if token is None or token.revoked_at is not None:
        return False
    return token.expires_at is None or token.expires_at > at
