"""Who may do what: one table of roles and scopes; routes name the scope they need.

`own` scopes reach what the principal submitted; the matching `all` scope reaches everybody's.
"""

from enum import StrEnum

from msgspec import Struct

from aifarm.app.errors import Forbidden
from aifarm.app.records import LoginRecord, Role, TokenRecord


class Scope(StrEnum):
    READ = "read"
    SUBMIT = "submit"
    CONTROL_OWN = "control:own"
    CONTROL_ALL = "control:all"
    PUBLISH = "publish"
    ADMIN = "admin"
    WORK = "work"
    FETCH = "fetch"


SCOPES: dict[Role, frozenset[Scope]] = {
    "admin": frozenset(Scope) - {Scope.WORK},
    "researcher": frozenset(
        {Scope.READ, Scope.SUBMIT, Scope.CONTROL_OWN, Scope.PUBLISH, Scope.FETCH}
    ),
    "viewer": frozenset({Scope.READ, Scope.FETCH}),
    "agent": frozenset({Scope.WORK, Scope.FETCH}),
}


class Principal(Struct, frozen=True):
    """Who speaks, as the token says. `name` is the submitter of the tasks this token creates.

    An agent may be bound to one `client_id`, or to clients with one `label` ("NAME=VALUE").
    `login`: the digest of the browser's log-in that stands for the token, where it is one.
    """

    token_id: str
    name: str
    role: Role
    client_id: str | None = None
    label: str | None = None
    expires_at: float | None = None
    login: str | None = None

    def expired(self, now: float) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def may(self, scope: Scope) -> bool:
        return scope in SCOPES[self.role]

    def need(self, scope: Scope) -> None:
        """Raises Forbidden."""
        if not self.may(scope):
            raise Forbidden(f"A {self.role}'s token may not do that.", scope=scope.value)

    def controls(self, submitter: str) -> bool:
        """Whether this submitter's tasks are the principal's to change."""
        own = self.may(Scope.CONTROL_OWN) and submitter == self.name
        return own or self.may(Scope.CONTROL_ALL)

    def need_control(self, submitter: str) -> None:
        """Raises Forbidden unless the task is the principal's own, or all tasks are."""
        self.need(Scope.CONTROL_OWN)
        if not self.controls(submitter):
            raise Forbidden(f"This task belongs to {submitter}; only they may change it.")


def principal(token: TokenRecord, login: LoginRecord | None = None) -> Principal:
    """Who the token says, or a browser that is logged in with it."""
    return Principal(
        token_id=token.id,
        name=token.name,
        role=token.role,
        client_id=token.client_id,
        label=token.label,
        expires_at=token.expires_at if login is None else login.expires_at,
        login=None if login is None else login.digest,
    )
