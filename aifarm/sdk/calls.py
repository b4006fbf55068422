"""Requests and answers of the farm's API as values, without I/O.

Each function makes the `Call` for one route; `interpret` turns what came back into the call's
result or raises. Who sends it, blocking or not, is the transport's business.
"""

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Generic, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct

from aifarm.sdk.errors import BY_CODE, AIFarmError, InvalidRequest, ServerError, Unauthorized
from aifarm.wire import rest
from aifarm.wire.agent import ErrorBody
from aifarm.wire.codec import encode, explain

T = TypeVar("T")
S = TypeVar("S", bound=Struct)

API = "/api/v2"


class Call(Struct, Generic[T], frozen=True, kw_only=True):
    """One request. `repeatable`: sending it twice has the effect of sending it once."""

    method: str
    path: str
    decode: Callable[[bytes], T]
    query: dict[str, str] = {}
    body: bytes = b""
    headers: dict[str, str] = {}
    repeatable: bool = True


class Answer(Struct, frozen=True):
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def try_later(self) -> bool:
        return self.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)

    @property
    def retry_after(self) -> float | None:
        """Seconds that the farm asks to wait, or None."""
        try:
            return max(0.0, float(self.headers["retry-after"]))
        except (KeyError, ValueError):
            return None


def interpret(call: Call[T], answer: Answer) -> T:
    """The call's result. Raises the AIFarmError that the answer's error code stands for."""
    if not 200 <= answer.status < 300:
        raise failure(answer)
    try:
        return call.decode(answer.body)
    except msgspec.DecodeError as error:
        raise ServerError(
            f"The answer to {call.method} {call.path} is not what this version of aifarm "
            f"understands ({explain(error).message}): is that address a farm, and as new as this?"
        ) from None


def failure(answer: Answer) -> AIFarmError:
    """The exception for an answer that is an error."""
    try:
        error = msgspec.json.decode(answer.body, type=rest.ErrorEnvelope).error
    except msgspec.DecodeError:
        return ServerError(
            f"The answer was {answer.status} {_phrase(answer.status)}, and not from a farm: "
            "check the URL, and any proxy on the way."
        )
    return from_body(error)


def from_body(error: ErrorBody) -> AIFarmError:
    """The exception for the farm's error envelope, from REST or the live feed."""
    if error.code == Unauthorized.code:
        # The farm's own sentence is for those who sent none; the SDK always sends one.
        return Unauthorized("The farm does not accept this token: it is wrong, expired or revoked.")
    return BY_CODE.get(error.code, ServerError)(error.message, dict(error.details))


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(unknown)"


def valid(shape: type[S], **fields: object) -> S:
    """A request's body, checked here as the farm will. Raises InvalidRequest."""
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return msgspec.convert(msgspec.to_builtins(given), shape)
    except msgspec.ValidationError as error:
        raise InvalidRequest(explain(error).message) from None
    except TypeError as error:
        raise InvalidRequest(f"Values must be plain JSON: {error}.") from None


# ---------------------------------------------------------------- routes


def health() -> Call[rest.Health]:
    return _get("/api/health", rest.Health)


def create_task(body: rest.CreateTask, key: str) -> Call[rest.TaskFull]:
    """`key` makes it repeatable: the farm answers a second one with the first one's task."""
    return Call(
        method="POST",
        path=f"{API}/tasks",
        decode=_json(rest.TaskFull),
        body=encode(body),
        headers={"Content-Type": "application/json", "Idempotency-Key": key},
    )


def list_tasks(
    *,
    page: int = 1,
    limit: int = 100,
    status: str | None = None,
    submitter: str | None = None,
    prefix: str | None = None,
) -> Call[rest.TaskFullList]:
    return _get(
        f"{API}/tasks",
        rest.TaskFullList,
        page=page,
        limit=limit,
        status=status,
        submitter=submitter,
        prefix=prefix,
    )


def get_task(task_id: str) -> Call[rest.TaskFull]:
    return _get(_task(task_id), rest.TaskFull)


def set_status(task_id: str, body: rest.UpdateStatus) -> Call[rest.StatusFull]:
    return Call(
        method="PUT",
        path=_task(task_id) + "/status",
        decode=_json(rest.StatusFull),
        body=encode(body),
        headers={"Content-Type": "application/json"},
    )


def why(task_id: str) -> Call[rest.Why]:
    return _get(_task(task_id) + "/why", rest.Why)


def attempts(task_id: str) -> Call[rest.AttemptList]:
    return _get(_task(task_id) + "/attempts", rest.AttemptList)


def events(task_id: str, *, after: int = 0, limit: int = 1000) -> Call[rest.EventList]:
    return _get(_task(task_id) + "/events", rest.EventList, after=after, limit=limit)


def logs(
    task_id: str, *, attempt: int | None, rank: int, first: int = 0, limit: int = 1000
) -> Call[rest.LogPage]:
    return _get(
        _task(task_id) + "/logs",
        rest.LogPage,
        attempt=attempt,
        rank=rank,
        first=first,
        limit=limit,
    )


def metrics(
    task_id: str, *, names: Iterable[str] = (), points: int | None = 1000
) -> Call[rest.MetricHistory]:
    return _get(
        _task(task_id) + "/metrics",
        rest.MetricHistory,
        names=",".join(names) or None,
        points="all" if points is None else points,
    )


def checkpoints(task_id: str) -> Call[rest.CheckpointList]:
    return _get(_task(task_id) + "/checkpoints", rest.CheckpointList)


def checkpoint_data(checkpoint: rest.CheckpointFull, start: int) -> Call[None]:
    """Its bytes from `start` on; `If-Range` keeps a resumed download from mixing two files."""
    ranged = {"Range": f"bytes={start}-", "If-Range": f'"{checkpoint.sha256}"'} if start else {}
    return Call(
        method="GET",
        path="/" + checkpoint.path.lstrip("/"),
        decode=_nothing,
        headers={"Accept": "application/octet-stream", "Accept-Encoding": "identity", **ranged},
    )


def clients() -> Call[rest.ClientFullList]:
    return _get(f"{API}/clients", rest.ClientFullList)


def packages(name: str | None = None) -> Call[rest.PackageList]:
    return _get(f"{API}/packages", rest.PackageList, name=name)


def put_package(name: str, version: str, archive: bytes) -> Call[rest.PackageFull]:
    return Call(
        method="PUT",
        path=f"/models/{_quoted(name)}/{_quoted(version)}",
        decode=_json(rest.PackageFull),
        body=archive,
        headers={"Content-Type": "application/zip"},
    )


def tokens() -> Call[rest.TokenList]:
    return _get(f"{API}/tokens", rest.TokenList)


def create_token(body: rest.CreateToken) -> Call[rest.TokenFull]:
    return Call(
        method="POST",
        path=f"{API}/tokens",
        decode=_json(rest.TokenFull),
        body=encode(body),
        headers={"Content-Type": "application/json"},
        repeatable=False,
    )


def revoke_token(token_id: str) -> Call[None]:
    return Call(method="DELETE", path=f"{API}/tokens/{_quoted(token_id)}", decode=_nothing)


def _get(path: str, shape: type[S], **query: object) -> Call[S]:
    given = {name: str(value) for name, value in query.items() if value is not None}
    return Call(method="GET", path=path, decode=_json(shape), query=given)


def _json(shape: type[S]) -> Callable[[bytes], S]:
    return msgspec.json.Decoder(shape).decode


def _nothing(body: bytes) -> None:
    return None


def _task(task_id: str) -> str:
    return f"{API}/tasks/{_quoted(task_id)}"


def _quoted(part: str) -> str:
    return quote(part, safe="")
