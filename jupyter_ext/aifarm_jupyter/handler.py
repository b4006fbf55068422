"""What the extension's handlers have in common: the farm, the authorizer, one kind of error."""

import http
import json
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, NoReturn

from jupyter_server.extension.handler import ExtensionHandlerMixin
from tornado import web

from aifarm.sdk.config import Address

if TYPE_CHECKING:
    from aifarm_jupyter.extension import AIFarm

CODES = {
    400: "INVALID_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "PAYLOAD_TOO_LARGE",
    502: "SERVICE_UNAVAILABLE",
    503: "SERVICE_UNAVAILABLE",
}
"""The farm's words for what is refused on the way to it."""


class FarmHandler(ExtensionHandlerMixin):  # type: ignore[misc]
    """Goes before one of Jupyter's own handlers."""

    @property
    def extension(self) -> "AIFarm":
        app: AIFarm = self.settings["aifarm"]
        return app

    @property
    def address(self) -> Address:
        """Raises the 503 that says why there is no farm."""
        farm = self.extension.farm
        if farm.address is None:
            raise web.HTTPError(503, farm.problem or "The farm of this machine is starting.")
        return farm.address

    async def allows(self, action: str, resource: str) -> bool:
        """Asked directly: the decorator would keep the first subclass's resource."""
        allowed = self.authorizer.is_authorized(self, self.current_user, action, resource)
        return bool(await allowed if isawaitable(allowed) else allowed)

    async def authorize(self, action: str, resource: str) -> None:
        """Raises 403."""
        if not await self.allows(action, resource):
            raise web.HTTPError(403, f"This Jupyter server does not let you {action} {resource}.")

    def get_login_url(self) -> NoReturn:
        """No redirect: a script asks here, which could do nothing with a page."""
        raise web.HTTPError(403, "Log in to this Jupyter server first.")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """In the farm's envelope, so that a page reads one kind of error."""
        raised = kwargs.get("exc_info", (None, None, None))[1]
        message = http.HTTPStatus(status_code).phrase
        if isinstance(raised, web.HTTPError) and raised.log_message:
            message = raised.log_message % raised.args
        code = CODES.get(status_code, "INTERNAL_ERROR")
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"error": {"code": code, "message": message}}))
