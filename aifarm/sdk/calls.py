"""The `Call` for each route of the farm's API."""

import hashlib
from collections.abc import Callable, Iterable
from typing import TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from aifarm.sdk.call import API, Call, Query
from aifarm.wire import query, requests, rest
from aifarm.wire.codec import encode

S = TypeVar("S", bound=Struct)

HASHING = 20e6
"""Bytes of stored data that a farm surely hashes in a second."""


def health() -> Call[rest.Health]:
    return _get("/api/health", rest.Health)


def system() -> Call[rest.System]:
    return _get(f"{API}/system", rest.System)


def farm_metrics() -> Call[rest.FarmMetrics]:
    return _get(f"{API}/metrics", rest.FarmMetrics)


# ---------------------------------------------------------------- tasks


def create_task(body: requests.CreateTask, key: str) -> Call[rest.TaskFull]:
    """`key` makes it repeatable: the farm answers a second one with the first one's task."""
    return _send("POST", f"{API}/tasks", rest.TaskFull, body, key=key)


def check_task(body: requests.CreateTask, unpublished: bool = False) -> Call[rest.Check]:
    call = _send("POST", f"{API}/tasks/check", rest.Check, body)
    return replace(call, query={"unpublished": "true"}) if unpublished else call


def list_tasks(wanted: query.TaskQuery) -> Call[rest.TaskFullList]:
    return Call(
        method="GET",
        path=f"{API}/tasks",
        decode=_json(rest.TaskFullList),
        query={name: _text(value) for name, value in msgspec.to_builtins(wanted).items()},
    )


def bulk(body: requests.BulkTasks) -> Call[rest.BulkResults]:
    """A retry makes new tasks each time, so that one is not repeatable."""
    path = f"{API}/tasks/bulk"
    return _send("POST", path, rest.BulkResults, body, repeatable=body.action != "retry")


def get_task(task_id: str) -> Call[rest.TaskFull]:
    return _get(_task(task_id), rest.TaskFull)


def edit_task(task_id: str, body: requests.EditTask) -> Call[rest.TaskFull]:
    return _send("PATCH", _task(task_id), rest.TaskFull, body)


def delete_task(task_id: str) -> Call[None]:
    return _delete(_task(task_id))


def restore_task(task_id: str) -> Call[rest.TaskFull]:
    return _send("POST", _task(task_id) + "/restore", rest.TaskFull)


def retry_task(task_id: str, body: requests.RetryTask, key: str) -> Call[rest.TaskFull]:
    """`key` as in `create_task`."""
    return _send("POST", _task(task_id) + "/retry", rest.TaskFull, body, key=key)


def set_status(task_id: str, body: requests.UpdateStatus) -> Call[rest.StatusFull]:
    return _send("PUT", _task(task_id) + "/status", rest.StatusFull, body)


def why(task_id: str) -> Call[rest.Why]:
    return _get(_task(task_id) + "/why", rest.Why)


def attempts(task_id: str) -> Call[rest.AttemptList]:
    return _get(_task(task_id) + "/attempts", rest.AttemptList)


def events(
    *,
    task_id: str | None = None,
    client_id: str | None = None,
    after: int = 0,
    limit: int = query.MAX_LIMIT,
) -> Call[rest.EventList]:
    """Of one task, one client, or the whole farm."""
    of = _task(task_id) if task_id else _client(client_id) if client_id else API
    return _get(f"{of}/events", rest.EventList, after=after, limit=limit)


def logs(
    task_id: str,
    *,
    attempt: int | None,
    rank: int,
    first: int | None = None,
    tail: int | None = None,
    limit: int = 1000,
) -> Call[rest.LogPage]:
    return _get(
        _task(task_id) + "/logs",
        rest.LogPage,
        attempt=attempt,
        rank=rank,
        first=first,
        tail=tail,
        limit=limit,
    )


def metrics(
    task_id: str,
    *,
    names: Iterable[str] = (),
    points: int | None = 1000,
    steps: tuple[int, int | None] = (0, None),
) -> Call[rest.MetricHistory]:
    first, last = steps
    return _get(
        _task(task_id) + "/metrics",
        rest.MetricHistory,
        names=",".join(names) or None,
        points="all" if points is None else points,
        first_step=first or None,
        last_step=last,
    )


def metrics_csv(task_id: str, names: Iterable[str] = ()) -> Call[None]:
    """Every point, as text."""
    wanted: Query = {"names": ",".join(names)} if names else {}
    return Call(method="GET", path=_task(task_id) + "/metrics.csv", decode=_nothing, query=wanted)


# ---------------------------------------------------------------- checkpoints


def checkpoints(task_id: str) -> Call[rest.CheckpointList]:
    return _get(_task(task_id) + "/checkpoints", rest.CheckpointList)


def checkpoint_data(checkpoint: rest.CheckpointFull, start: int) -> Call[None]:
    """Its bytes from `start` on."""
    return _bytes("/" + checkpoint.path.lstrip("/"), checkpoint.sha256, start)


def pin_checkpoint(
    task_id: str, checkpoint_id: str, body: requests.PinCheckpoint
) -> Call[rest.CheckpointFull]:
    return _send("PUT", _checkpoint(task_id, checkpoint_id) + "/pin", rest.CheckpointFull, body)


def delete_checkpoint(task_id: str, checkpoint_id: str) -> Call[None]:
    return _delete(_checkpoint(task_id, checkpoint_id))


# ---------------------------------------------------------------- outputs


def outputs(task_id: str) -> Call[rest.OutputList]:
    return _get(_task(task_id) + "/outputs", rest.OutputList)


def outputs_zip(task_id: str) -> Call[None]:
    """All of them, as one archive."""
    return Call(method="GET", path=_task(task_id) + "/outputs.zip", decode=_nothing)


def output_data(task_id: str, output: rest.OutputFull, start: int) -> Call[None]:
    """Its bytes from `start` on."""
    return _bytes(f"{_task(task_id)}/outputs/{quote(output.path)}", output.sha256, start)


# ---------------------------------------------------------------- clients


def clients(cursor: str) -> Call[rest.ClientFullList]:
    return _get(f"{API}/clients", rest.ClientFullList, **_step(cursor))


def get_client(client_id: str) -> Call[rest.ClientFullDetails]:
    return _get(_client(client_id), rest.ClientFullDetails)


def drain_client(client_id: str, body: requests.DrainClient) -> Call[rest.ClientFull]:
    return _send("PUT", _client(client_id) + "/drain", rest.ClientFull, body)


def forget_client(client_id: str) -> Call[None]:
    return _delete(_client(client_id))


def client_history(client_id: str, wanted: query.HistoryQuery) -> Call[rest.ClientHistory]:
    given = msgspec.to_builtins(wanted)
    return _get(_client(client_id) + "/history", rest.ClientHistory, **given)


# ---------------------------------------------------------------- packages, data and tokens


def packages(name: str | None, cursor: str) -> Call[rest.PackageList]:
    return _get(f"{API}/packages", rest.PackageList, name=name, **_step(cursor))


def package(name: str, version: str) -> Call[rest.PackageFull]:
    return _get(f"{API}/packages/{_quoted(name)}/{_quoted(version)}", rest.PackageFull)


def put_package(name: str, version: str, archive: bytes) -> Call[rest.PackageFull]:
    return Call(
        method="PUT",
        path=f"/models/{_quoted(name)}/{_quoted(version)}",
        decode=_json(rest.PackageFull),
        body=archive,
        headers={"Content-Type": "application/zip"},
    )


def delete_package(name: str, version: str) -> Call[None]:
    return _delete(f"{API}/packages/{_quoted(name)}/{_quoted(version)}")


def begin_data(body: requests.CreateData) -> Call[rest.DataUpload]:
    return _send("POST", f"{API}/data", rest.DataUpload, body)


def put_data_part(sha256: str, number: int, part: bytes) -> Call[None]:
    return Call(
        method="PUT",
        path=f"{_data(sha256)}/parts/{number}",
        decode=_nothing,
        body=part,
        headers={
            "Content-Type": "application/octet-stream",
            "X-Content-SHA256": hashlib.sha256(part).hexdigest(),
        },
    )


def commit_data(sha256: str, size: int) -> Call[rest.DataFull]:
    """The farm hashes all of it before it answers."""
    call = _send("POST", f"{_data(sha256)}/commit", rest.DataFull)
    return msgspec.structs.replace(call, patience=60.0 + size / HASHING)


def list_data(name: str | None, cursor: str) -> Call[rest.DataList]:
    return _get(f"{API}/data", rest.DataList, name=name, **_step(cursor))


def delete_data(sha256: str) -> Call[None]:
    return _delete(_data(sha256))


def tokens(cursor: str) -> Call[rest.TokenList]:
    return _get(f"{API}/tokens", rest.TokenList, **_step(cursor))


def my_token() -> Call[rest.TokenFull]:
    return _get(f"{API}/token", rest.TokenFull)


def create_token(body: requests.CreateToken) -> Call[rest.TokenFull]:
    return _send("POST", f"{API}/tokens", rest.TokenFull, body, repeatable=False)


def revoke_token(token_id: str) -> Call[None]:
    return _delete(f"{API}/tokens/{_quoted(token_id)}")


# ---------------------------------------------------------------- parts


def _step(cursor: str) -> dict[str, object]:
    """Of a walk through a whole list, which begins with ""."""
    return {"cursor": cursor, "limit": query.MAX_LIMIT}


def _get(path: str, shape: type[S], **wanted: object) -> Call[S]:
    given: Query = {name: str(value) for name, value in wanted.items() if value is not None}
    return Call(method="GET", path=path, decode=_json(shape), query=given)


def _send(
    method: str,
    path: str,
    shape: type[S],
    body: Struct | None = None,
    *,
    key: str | None = None,
    repeatable: bool = True,
) -> Call[S]:
    headers = {"Content-Type": "application/json"} if body is not None else {}
    if key is not None:
        headers["Idempotency-Key"] = key
    return Call(
        method=method,
        path=path,
        decode=_json(shape),
        body=encode(body) if body is not None else b"",
        headers=headers,
        repeatable=repeatable,
    )


def _delete(path: str) -> Call[None]:
    return Call(method="DELETE", path=path, decode=_nothing)


def _json(shape: type[S]) -> Callable[[bytes], S]:
    return msgspec.json.Decoder(shape).decode


def _nothing(body: bytes) -> None:
    return None


def _text(value: object) -> str | list[str]:
    if isinstance(value, list):
        return [str(one) for one in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bytes(path: str, sha256: str, start: int) -> Call[None]:
    """`If-Range` keeps a resumed download from mixing two files."""
    ranged = {"Range": f"bytes={start}-", "If-Range": f'"{sha256}"'} if start else {}
    return Call(
        method="GET",
        path=path,
        decode=_nothing,
        headers={"Accept": "application/octet-stream", "Accept-Encoding": "identity", **ranged},
    )


def _task(task_id: str) -> str:
    return f"{API}/tasks/{_quoted(task_id)}"


def _checkpoint(task_id: str, checkpoint_id: str) -> str:
    return f"{_task(task_id)}/checkpoints/{_quoted(checkpoint_id)}"


def _data(sha256: str) -> str:
    return f"{API}/data/{_quoted(sha256)}"


def _client(client_id: str) -> str:
    return f"{API}/clients/{_quoted(client_id)}"


def _quoted(part: str) -> str:
    return quote(part, safe="")
