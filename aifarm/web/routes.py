"""ROUTES: every REST address of the farm, as data. Hosts bind them; a test walks them."""

from aifarm.app.scopes import Scope
from aifarm.web import clients, metrics, packages, tasks, tokens, uploads
from aifarm.web.http import Function, Route
from aifarm.wire.rest import PART_SIZE


def _v1(method: str, path: str, scope: Scope, function: Function) -> list[Route]:
    """The documented address, and the same under its version."""
    return [Route(method, f"/api{prefix}{path}", scope, function) for prefix in ("", "/v1")]


ROUTES: tuple[Route, ...] = (
    *_v1("GET", "/tasks", Scope.READ, tasks.list_v1),
    *_v1("POST", "/tasks", Scope.SUBMIT, tasks.create_v1),
    *_v1("GET", "/tasks/{task_id}", Scope.READ, tasks.get_v1),
    *_v1("DELETE", "/tasks/{task_id}", Scope.CONTROL_OWN, tasks.delete),
    *_v1("PUT", "/tasks/{task_id}/status", Scope.CONTROL_OWN, tasks.status_v1),
    *_v1("GET", "/clients", Scope.READ, clients.list_v1),
    *_v1("GET", "/clients/{client_id}", Scope.READ, clients.get_v1),
    *_v1("GET", "/metrics", Scope.READ, metrics.system),
    *_v1("GET", "/metrics/tasks/{task_id}", Scope.READ, metrics.task),
    Route("GET", "/api/health", None, clients.health),
    Route("GET", "/api/v2/tasks", Scope.READ, tasks.list_v2),
    Route("POST", "/api/v2/tasks", Scope.SUBMIT, tasks.create_v2),
    Route("GET", "/api/v2/tasks/{task_id}", Scope.READ, tasks.get_v2),
    Route("DELETE", "/api/v2/tasks/{task_id}", Scope.CONTROL_OWN, tasks.delete),
    Route("PUT", "/api/v2/tasks/{task_id}/status", Scope.CONTROL_OWN, tasks.status_v2),
    Route("GET", "/api/v2/tasks/{task_id}/why", Scope.READ, tasks.why),
    Route("GET", "/api/v2/tasks/{task_id}/attempts", Scope.READ, tasks.attempts),
    Route("GET", "/api/v2/tasks/{task_id}/events", Scope.READ, tasks.events),
    Route("GET", "/api/v2/tasks/{task_id}/logs", Scope.READ, tasks.logs),
    Route("GET", "/api/v2/tasks/{task_id}/metrics", Scope.READ, tasks.metrics),
    Route("GET", "/api/v2/tasks/{task_id}/checkpoints", Scope.READ, tasks.checkpoints),
    Route(
        "GET",
        "/api/v2/tasks/{task_id}/checkpoints/{checkpoint_id}/data",
        Scope.FETCH,
        tasks.checkpoint_data,
    ),
    Route("GET", "/api/v2/events", Scope.READ, tasks.events),
    Route("GET", "/api/v2/clients", Scope.READ, clients.list_v2),
    Route("GET", "/api/v2/clients/{client_id}", Scope.READ, clients.get_v2),
    Route("GET", "/api/v2/packages", Scope.READ, packages.list_all),
    Route("GET", "/models/{name}/{version}", Scope.FETCH, packages.get),
    Route(
        "PUT",
        "/models/{name}/{version}",
        Scope.PUBLISH,
        packages.put,
        max_body=packages.MAX_PACKAGE,
        spools=True,
    ),
    Route("GET", "/api/v2/tokens", Scope.ADMIN, tokens.list_all),
    Route("POST", "/api/v2/tokens", Scope.ADMIN, tokens.create),
    Route("DELETE", "/api/v2/tokens/{token_id}", Scope.ADMIN, tokens.revoke),
    Route("POST", "/api/v2/uploads", Scope.WORK, uploads.begin),
    Route("GET", "/api/v2/uploads/{upload_id}", Scope.WORK, uploads.get),
    Route(
        "PUT",
        "/api/v2/uploads/{upload_id}/parts/{number}",
        Scope.WORK,
        uploads.put_part,
        max_body=PART_SIZE,
    ),
)
