"""Browsers that are logged in: each stands for the token that it logged in with.

A log-in ends by itself after a working day, when its token does, or when somebody logs out.
"""

from aifarm.app.draft import Draft
from aifarm.app.errors import Unauthorized
from aifarm.app.records import LoginRecord
from aifarm.app.scopes import Principal
from aifarm.app.writer import Operation

MAX_SECONDS = 12 * 3600.0

MAX_LOGINS = 50
"""Browsers of one token; when one more logs in, the oldest is logged out."""


def log_in(digest: str, by: Principal) -> Operation:
    """A log-in whose cookie's secret hashes to `digest`."""

    def operation(draft: Draft) -> LoginRecord:
        token = draft.tokens[by.token_id]
        if token.revoked_at is not None:  # since the request came
            raise Unauthorized
        lapsed = [one for one in draft.logins.values() if one.expires_at <= draft.at]
        for one in lapsed:
            draft.drop_login(one.digest)
        others = [one for one in draft.logins.values() if one.token_id == token.id]
        if len(others) >= MAX_LOGINS:
            draft.drop_login(min(others, key=lambda one: one.created_at).digest)
        ends = draft.at + MAX_SECONDS
        record = LoginRecord(digest, token.id, draft.at, min(ends, token.expires_at or ends))
        draft.add_login(record)
        return record

    return operation


def log_out(digest: str) -> Operation:
    """Repeats are fine."""

    def operation(draft: Draft) -> None:
        if digest in draft.logins:
            draft.drop_login(digest)

    return operation


def log_out_all(draft: Draft, token_id: str) -> None:
    """As part of another operation: no browser stands for this token any more."""
    for login in [one for one in draft.logins.values() if one.token_id == token_id]:
        draft.drop_login(login.digest)
