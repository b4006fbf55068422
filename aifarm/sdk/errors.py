"""What can go wrong, as one exception per error code of the API, all under AIFarmError."""

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from aifarm.sdk.aio.task import AsyncTask
    from aifarm.sdk.task import Task


class AIFarmError(Exception):
    """Base of every error of this package. `message` is one sentence for people; `details` is
    what the farm added for programs."""

    code: ClassVar[str] = ""

    def __init__(self, message: str, details: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or {}


class InvalidRequest(AIFarmError):
    """The farm does not accept a value (400)."""

    code = "INVALID_REQUEST"


class Unauthorized(AIFarmError):
    """The token is missing, unknown, expired or revoked (401)."""

    code = "UNAUTHORIZED"


class Forbidden(AIFarmError):
    """The token's role or its owner may not do that (403)."""

    code = "FORBIDDEN"


class NotFound(AIFarmError):
    """There is no such task, client, package, checkpoint or token (404)."""

    code = "NOT_FOUND"


class MethodNotAllowed(AIFarmError):
    """The address does not answer that method (405): the server is another version."""

    code = "METHOD_NOT_ALLOWED"


class Conflict(AIFarmError):
    """It contradicts what is already so (409): a final task, a published version."""

    code = "CONFLICT"


class TooLarge(AIFarmError):
    """It is larger than the farm accepts (413)."""

    code = "PAYLOAD_TOO_LARGE"


class RateLimited(AIFarmError):
    """Too many requests in the last minute (429), also after waiting."""

    code = "RATE_LIMITED"


class ServerError(AIFarmError):
    """The farm failed, or what answered is not a farm (5xx and unknown codes)."""

    code = "INTERNAL_ERROR"


class Unavailable(ServerError):
    """The farm cannot do that for the moment (503), also after waiting."""

    code = "SERVICE_UNAVAILABLE"


class FarmUnreachable(AIFarmError):
    """Nothing answers at the farm's address, or no address is known."""


class InsecureFarm(AIFarmError):
    """The token would cross a network in clear text."""


class CorruptDownload(AIFarmError):
    """The bytes that arrived are not those of the checkpoint; nothing was kept."""


class WaitTimeout(AIFarmError, TimeoutError):
    """The task was not over in time; it goes on."""


class TaskFailed(AIFarmError):
    """The task ended as `failed`. `cause` is one of the farm's causes, such as `user_error`."""

    def __init__(self, task: "Task | AsyncTask", cause: str, reason: str) -> None:
        super().__init__(f"Task {task.id} failed ({cause}): {reason}")
        self.task = task
        self.cause = cause


BY_CODE: dict[str, type[AIFarmError]] = {
    error.code: error
    for error in (
        InvalidRequest,
        Unauthorized,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        Conflict,
        TooLarge,
        RateLimited,
        ServerError,
        Unavailable,
    )
}
