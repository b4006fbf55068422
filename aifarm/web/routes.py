"""ROUTES: every REST address of the farm, as data. Hosts bind them; a test walks them."""

from typing import Any

from aifarm.app.scopes import Scope
from aifarm.web import (
    checkpoints,
    clients,
    data,
    lists,
    logs,
    metrics,
    outputs,
    packages,
    reference,
    session,
    system,
    tasks,
    tokens,
    uploads,
)
from aifarm.web.http import Function, Route
from aifarm.wire import query, requests, rest, v1

READ, SUBMIT, OWN, ADMIN = Scope.READ, Scope.SUBMIT, Scope.CONTROL_OWN, Scope.ADMIN
FETCH, WORK = Scope.FETCH, Scope.WORK


BASES = {1: ("/api", "/api/v1", "/v1"), 2: ("/api/v2", "/v2")}
"""Where each version of the API answers; the reference prints the first of each."""

BYTES, JSON, ZIP = "application/octet-stream", "application/json", "application/zip"
TEXT, CSV, HTML = (f"text/{kind}; charset=utf-8" for kind in ("plain", "csv", "html"))


def _v1(
    method: str, path: str, scope: Scope, function: Function, answer: Any = None, **more: Any
) -> list[Route]:
    """The documented address, and the same under its version."""
    return [Route(method, f"{base}{path}", scope, function, answer, **more) for base in BASES[1]]


def _v2(
    method: str, path: str, scope: Scope, function: Function, answer: Any = None, **more: Any
) -> list[Route]:
    return [Route(method, f"{base}{path}", scope, function, answer, **more) for base in BASES[2]]


_CREATE = {"body": requests.CreateTask, "status": 201, "headers": ("Idempotency-Key",)}
_UPDATE = {"body": requests.UpdateStatus}
_FILE: dict[str, Any] = {"also": (206,), "headers": ("Range",)}
_AS_CLIENT = ("Client-ID",)
_TASK = "/tasks/{task_id}"
_PACKAGE = "/packages/{name}/{version}"
_DATA = "/data/{sha256}"
_CLIENT = "/clients/{client_id}"
_CHECKPOINT = f"{_TASK}/checkpoints/{{checkpoint_id}}"

ROUTES: tuple[Route, ...] = (
    *_v1("GET", "/tasks", READ, lists.list_v1, v1.TaskList, query=query.TaskQueryV1),
    *_v1("POST", "/tasks", SUBMIT, tasks.create_v1, v1.TaskCreated, **_CREATE),
    *_v1("GET", _TASK, READ, tasks.get_v1, v1.TaskDetails),
    *_v1("DELETE", _TASK, OWN, tasks.delete, status=204),
    *_v1("PUT", f"{_TASK}/status", OWN, tasks.status_v1, v1.StatusUpdated, **_UPDATE),
    *_v1("GET", "/clients", READ, clients.list_v1, v1.ClientList),
    *_v1("GET", "/clients/{client_id}", READ, clients.get_v1, v1.ClientDetails),
    *_v1("GET", "/metrics", READ, metrics.system, v1.SystemMetrics),
    *_v1("GET", "/metrics/tasks/{task_id}", READ, metrics.task, v1.TaskMetrics),
    Route("GET", "/api/health", None, system.health, rest.Health),
    Route("GET", "/api/ready", None, system.ready, rest.Health),
    *_v2("GET", "/metrics", READ, metrics.farm, rest.FarmMetrics),
    *_v2("GET", "/system", ADMIN, system.system, rest.System),
    Route("GET", "/metrics", READ, system.metrics, "text/plain"),
    Route("GET", "/api/openapi.json", READ, reference.rest, JSON),
    Route("GET", "/api/asyncapi.json", READ, reference.sockets, JSON),
    Route("GET", "/api/docs", None, reference.human, HTML),
    *_v2("GET", "/tasks", READ, lists.list_v2, rest.TaskFullList, query=query.TaskQuery),
    *_v2("POST", "/tasks", SUBMIT, tasks.create_v2, rest.TaskFull, **_CREATE),
    *_v2("POST", "/tasks/bulk", OWN, lists.bulk, rest.BulkResults, body=requests.BulkTasks),
    *_v2(
        "POST",
        "/tasks/check",
        SUBMIT,
        tasks.check,
        rest.Check,
        body=requests.CreateTask,
        query=query.CheckQuery,
    ),
    *_v2("GET", _TASK, READ, tasks.get_v2, rest.TaskFull),
    *_v2("PATCH", _TASK, OWN, tasks.edit, rest.TaskFull, body=requests.EditTask),
    *_v2("DELETE", _TASK, OWN, tasks.delete, status=204),
    *_v2("PUT", f"{_TASK}/status", OWN, tasks.status_v2, rest.StatusFull, **_UPDATE),
    *_v2("POST", f"{_TASK}/restore", OWN, tasks.restore, rest.TaskFull),
    *_v2(
        "POST",
        f"{_TASK}/retry",
        SUBMIT,
        tasks.retry,
        rest.TaskFull,
        body=requests.RetryTask,
        status=201,
        headers=("Idempotency-Key",),
    ),
    *_v2("GET", f"{_TASK}/why", READ, tasks.why, rest.Why),
    *_v2("GET", f"{_TASK}/attempts", READ, tasks.attempts, rest.AttemptList),
    *_v2("GET", f"{_TASK}/events", READ, tasks.events, rest.EventList, query=query.EventQuery),
    *_v2("GET", f"{_TASK}/logs", READ, logs.page, rest.LogPage, query=query.LogQuery),
    *_v2("GET", f"{_TASK}/logs.txt", READ, logs.text, TEXT, query=query.LogTextQuery),
    *_v2(
        "GET", f"{_TASK}/metrics", READ, tasks.metrics, rest.MetricHistory, query=query.MetricQuery
    ),
    *_v2("GET", f"{_TASK}/metrics.csv", READ, metrics.csv, CSV, query=query.CsvQuery),
    *_v2("GET", f"{_TASK}/checkpoints", READ, checkpoints.list_all, rest.CheckpointList),
    *_v2("DELETE", _CHECKPOINT, OWN, checkpoints.delete, status=204),
    *_v2("GET", f"{_CHECKPOINT}/data", FETCH, checkpoints.data, BYTES, **_FILE),
    *_v2(
        "PUT",
        f"{_CHECKPOINT}/pin",
        OWN,
        checkpoints.pin,
        rest.CheckpointFull,
        body=requests.PinCheckpoint,
    ),
    *_v2("GET", f"{_TASK}/outputs", FETCH, outputs.list_all, rest.OutputList),
    *_v2("GET", f"{_TASK}/outputs.zip", FETCH, outputs.archive, ZIP),
    *_v2("GET", f"{_TASK}/outputs/{{path}}", FETCH, outputs.data, BYTES, **_FILE),
    *_v2("GET", "/events", READ, tasks.events, rest.EventList, query=query.EventQuery),
    *_v2("GET", "/clients", READ, clients.list_v2, rest.ClientFullList, query=query.Listed),
    *_v2("GET", _CLIENT, READ, clients.get_v2, rest.ClientFullDetails),
    *_v2("DELETE", _CLIENT, ADMIN, clients.forget, status=204),
    *_v2(
        "PUT", f"{_CLIENT}/drain", ADMIN, clients.drain, rest.ClientFull, body=requests.DrainClient
    ),
    *_v2("GET", f"{_CLIENT}/events", READ, clients.events, rest.EventList, query=query.EventQuery),
    *_v2(
        "GET",
        f"{_CLIENT}/history",
        READ,
        clients.history,
        rest.ClientHistory,
        query=query.HistoryQuery,
    ),
    *_v2("GET", "/packages", READ, packages.list_all, rest.PackageList, query=query.PackageQuery),
    *_v2("GET", _PACKAGE, READ, packages.show, rest.PackageFull),
    *_v2("DELETE", _PACKAGE, Scope.PUBLISH, packages.delete, status=204),
    Route("GET", "/models/{name}/{version}", FETCH, packages.get, BYTES, **_FILE),
    Route(
        "PUT",
        "/models/{name}/{version}",
        Scope.PUBLISH,
        packages.put,
        rest.PackageFull,
        body=ZIP,
        status=201,
        also=(200,),
        max_body=packages.MAX_PACKAGE,
        spools=True,
    ),
    *_v2("GET", "/data", READ, data.list_all, rest.DataList, query=query.DataQuery),
    *_v2(
        "POST",
        "/data",
        Scope.PUBLISH,
        data.begin,
        rest.DataUpload,
        body=requests.CreateData,
        status=201,
        also=(200,),
    ),
    *_v2(
        "PUT",
        f"{_DATA}/parts/{{number}}",
        Scope.PUBLISH,
        data.put_part,
        body=BYTES,
        status=204,
        headers=("X-Content-SHA256",),
        max_body=requests.PART_SIZE,
        metered=False,
    ),
    *_v2("POST", f"{_DATA}/commit", Scope.PUBLISH, data.commit, rest.DataFull),
    *_v2("GET", _DATA, FETCH, data.get, BYTES, **_FILE),
    *_v2("DELETE", _DATA, Scope.PUBLISH, data.delete, status=204),
    *_v2("POST", "/session", READ, session.log_in, status=204),
    *_v2("DELETE", "/session", READ, session.log_out, status=204),
    *_v2("GET", "/token", READ, tokens.mine, rest.TokenFull),
    *_v2("GET", "/tokens", ADMIN, tokens.list_all, rest.TokenList, query=query.Listed),
    *_v2(
        "POST",
        "/tokens",
        ADMIN,
        tokens.create,
        rest.TokenFull,
        body=requests.CreateToken,
        status=201,
    ),
    *_v2("DELETE", "/tokens/{token_id}", ADMIN, tokens.revoke, status=204),
    *_v2(
        "POST",
        "/uploads",
        WORK,
        uploads.begin,
        rest.UploadFull,
        body=requests.CreateUpload,
        status=201,
        also=(200,),
        headers=_AS_CLIENT,
    ),
    *_v2("GET", "/uploads/{upload_id}", WORK, uploads.get, rest.UploadFull, headers=_AS_CLIENT),
    *_v2(
        "PUT",
        "/uploads/{upload_id}/parts/{number}",
        WORK,
        uploads.put_part,
        body=BYTES,
        status=204,
        headers=(*_AS_CLIENT, "X-Content-SHA256"),
        max_body=requests.PART_SIZE,
        metered=False,
    ),
)
