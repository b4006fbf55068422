"""Who may do what through a Jupyter server: its log-in, its identity, its authorizer decide."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from integration.jupyter import Jupyter
from integration.running import RunningServer, closed_with

PEOPLE = """
from jupyter_server.auth import Authorizer, IdentityProvider, User

class Names(IdentityProvider):
    "The token that somebody logs in with is the name."

    async def get_user_token(self, handler):
        name = self.get_token(handler)
        return User(name) if name in MAY else None

class Rules(Authorizer):
    async def is_authorized(self, handler, user, action, resource):
        return resource.startswith("aifarm:") and action in MAY[user.username]

MAY = {
    "secret": {"read", "write", "execute"},
    "editor": {"read", "write"},
    "reader": {"read"},
    "guest": set(),
}
c.ServerApp.identity_provider_class = Names
c.ServerApp.authorizer_class = Rules
"""

TASK = {"name": "model", "version": "1.0"}
BULK = {"filter": {"project": "none"}}


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("farm")) as running:
        running.publish()
        yield running


@pytest.fixture(scope="module")
def jupyter(farm: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    """Attached to the farm, under a prefix, for people who may do more and less."""
    attached = f"c.AIFarm.url = {farm.url!r}\nc.AIFarm.token = {farm.token('researcher')!r}\n"
    home = tmp_path_factory.mktemp("home")
    with Jupyter(home, attached + PEOPLE, base_url="/some/prefix/") as running:
        yield running


def sentence(answer: httpx.Response) -> str:
    message: str = answer.json()["error"]["message"]
    return message


def test_nobody_gets_in_without_a_log_in(jupyter: Jupyter) -> None:
    nobody = jupyter.http(None)
    for method, path in (
        ("GET", "/info"),
        ("GET", "/static/farm.js"),
        ("HEAD", "/static/farm.js"),
        ("GET", "/api/v2/tasks"),
        ("HEAD", "/api/v2/tasks"),
        ("POST", "/api/v2/tasks"),
        ("PUT", "/models/model/2.0"),
        ("PATCH", "/api/v2/tasks/x"),
        ("DELETE", "/api/v2/tasks/x"),
        ("GET", "/api/v2/live"),
    ):
        assert nobody.request(method, path).status_code in (401, 403), (method, path)
    with pytest.raises(InvalidStatus) as refused:
        jupyter.live(None)
    assert refused.value.response.status_code == 403
    assert "log in" in sentence(nobody.get("/info")).lower()


def test_jupyter_finds_nothing_unprotected_in_the_extension(jupyter: Jupyter) -> None:
    log = jupyter.log.read_text()
    assert "aifarm_jupyter | extension was successfully loaded" in log
    assert "JupyterServerAuthWarning" not in log


def test_who_may_do_all_submits_and_stops(jupyter: Jupyter, farm: RunningServer) -> None:
    http = jupyter.http()
    made = http.post("/api/v2/tasks", json=TASK)
    assert made.status_code == 201
    assert made.json()["submitter"] == "researcher"
    assert farm.token("researcher") not in made.text
    task = f"/api/v2/tasks/{made.json()['id']}"
    assert http.put(f"{task}/status", json={"status": "stopped"}).status_code == 200
    retried = http.post(f"{task}/retry", json={})
    assert retried.status_code == 201
    assert http.delete(f"/api/v2/tasks/{retried.json()['id']}").status_code == 204


def test_who_may_read_sees_all_and_changes_nothing(jupyter: Jupyter) -> None:
    http = jupyter.http("reader")
    for path in ("/info", "/api/v2/tasks", "/api/v2/packages", "/api/v2/clients"):
        assert http.get(path).status_code == 200, path
    assert http.get("/info").json()["may_write"] is False  # so that no button is shown
    assert jupyter.http("editor").get("/info").json()["may_write"] is True
    assert http.post("/api/v2/tasks/check", json=TASK).status_code == 200
    assert jupyter.snapshot("reader")["type"] == "snapshot"
    for method, path, action, resource in (
        ("POST", "/api/v2/tasks", "execute", "tasks"),
        ("POST", "/api/v2/tasks/x/retry", "execute", "tasks"),
        ("PUT", "/api/v2/tasks/x/status", "write", "tasks"),
        ("DELETE", "/api/v2/tasks/x", "write", "tasks"),
        ("PUT", "/models/model/2.0", "write", "packages"),
        ("PUT", "/api/v2/clients/x/drain", "write", "clients"),
    ):
        refused = http.request(method, path, json=TASK)
        assert refused.status_code == 403, (method, path)
        assert f"let you {action} aifarm:{resource}" in sentence(refused)


def test_who_may_write_but_not_run_starts_nothing_new(jupyter: Jupyter) -> None:
    http = jupyter.http("editor")
    stopped = http.post("/api/v2/tasks/bulk", json={**BULK, "action": "stop"})
    assert stopped.status_code == 200
    again = http.post("/api/v2/tasks/bulk", json={**BULK, "action": "retry"})
    assert again.status_code == 403
    assert http.post("/api/v2/tasks", json=TASK).status_code == 403


def test_who_may_not_read_is_told_so_by_each_route(jupyter: Jupyter) -> None:
    http = jupyter.http("guest")
    for path in ("/info", "/api/v2/tasks"):
        assert http.get(path).status_code == 403
    with pytest.raises(InvalidStatus) as refused:
        jupyter.live("guest")
    assert refused.value.response.status_code == 403


def test_a_cookie_changes_something_only_with_jupyters_xsrf_token(jupyter: Jupyter) -> None:
    browser = jupyter.http(None)
    root = jupyter.url.removesuffix("aifarm")
    assert browser.get(f"{root}tree?token=secret").status_code in (200, 302, 404)  # logs in
    browser.get(f"{root}login")
    token = browser.cookies["_xsrf"]
    assert browser.get("/api/v2/tasks", headers={"Referer": root}).status_code == 200
    foreign = browser.post("/api/v2/tasks", json=TASK)
    assert foreign.status_code == 403
    assert "_xsrf" in sentence(foreign)
    own = browser.post("/api/v2/tasks", json=TASK, headers={"X-XSRFToken": token})
    assert own.status_code == 201
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    own_page = f"http://127.0.0.1:{jupyter.port}"
    assert jupyter.snapshot(None, cookie=cookie, origin=own_page)["type"] == "snapshot"


def test_another_page_does_not_open_the_live_feed(jupyter: Jupyter) -> None:
    browser = jupyter.http(None)
    browser.get(f"{jupyter.url.removesuffix('aifarm')}tree?token=secret")
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    with pytest.raises(InvalidStatus) as refused:
        jupyter.snapshot(None, cookie=cookie, origin="https://elsewhere.example")
    assert refused.value.response.status_code in (403, 404)


@pytest.mark.parametrize(
    "path",
    ["/api/v2/tokens", "/api/v2/uploads/x", "/api/v2/session", "/api/tasks", "/api/health"],
)
def test_what_is_not_for_pages_does_not_pass(jupyter: Jupyter, path: str) -> None:
    assert jupyter.http().get(path).status_code == 404


@pytest.mark.parametrize("path", ["/api/v2/tasks/%2e%2e/tokens", "/api/v2/tasks/..%2ftokens"])
def test_no_path_leads_around_the_list(jupyter: Jupyter, path: str) -> None:
    assert jupyter.http().get(path).status_code == 404


def test_jupyters_own_token_stays_in_jupyter(jupyter: Jupyter) -> None:
    """The farm refuses what it does not know, so it has not seen it."""
    answer = jupyter.http(None).get("/api/v2/tasks", params={"token": "secret", "limit": "1"})
    assert answer.status_code == 200


def test_pages_of_a_list_and_files_are_as_the_farm_gives_them(jupyter: Jupyter) -> None:
    http = jupyter.http()
    listed = http.get("/api/v2/tasks", params={"limit": 1, "page": 1})
    assert listed.headers["X-Total-Count"].isdigit()
    assert "</some/prefix/aifarm/api/v2/tasks?" in listed.headers["Link"]
    package = http.get("/models/model/1.0")
    head = http.head("/models/model/1.0")
    assert (head.status_code, head.content) == (200, b"")
    for name in ("Content-Type", "Content-Length", "ETag"):
        assert head.headers[name] == package.headers[name]
    some = http.get("/models/model/1.0", headers={"Range": "bytes=2-5"})
    assert (some.status_code, some.content) == (206, package.content[2:6])


def test_a_token_that_was_renewed_in_its_file_is_used_at_once(
    farm: RunningServer, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(farm.token("researcher", "first"))
    config = f"c.AIFarm.url = {farm.url!r}\nc.AIFarm.token_file = {str(file)!r}\n"

    def renew(before: str, after: str) -> None:
        token = farm.token("researcher", after)
        admin = farm.http()
        (old,) = [
            one for one in admin.get("/api/v2/tokens").json()["tokens"] if one["name"] == before
        ]
        assert admin.delete(f"/api/v2/tokens/{old['id']}").status_code == 204
        file.write_text(token)

    with Jupyter(tmp_path / "home", config) as jupyter, jupyter.kernel() as kernel:
        named = "import aifarm\nprint(aifarm.connect().my_token().name)"
        assert kernel.run(named) == "first\n"
        renew("first", "second")
        assert jupyter.http().get("/api/v2/token").json()["name"] == "second"
        assert kernel.run(named) == "second\n"
        renew("second", "third")
        with jupyter.live() as refused:
            assert closed_with(refused)[0] == 1013
        assert jupyter.snapshot()["type"] == "snapshot"
        file.write_text("")
        assert jupyter.http().get("/api/v2/token").json()["name"] == "third"
