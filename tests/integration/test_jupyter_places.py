"""Wherever Jupyter runs: behind TLS, behind a proxy, under JupyterHub, with other kernels."""

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest
import tornado.httpclient
import tornado.httpserver
import tornado.web
import tornado.websocket
from websockets.sync.client import connect

from integration.jupyter import Jupyter
from integration.running import RunningServer, closed_with, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TASK = {"name": "model", "version": "1.0"}


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("farm")) as running:
        running.publish()
        yield running


def attached(farm: RunningServer, token: str) -> str:
    return f"c.AIFarm.url = {farm.url!r}\nc.AIFarm.token = {token!r}\n"


# ---------------------------------------------------------------- TLS and proxies


def test_rest_and_live_feed_work_over_https_on_both_sides(
    tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same certificate for both; only who is told of it trusts the farm's."""
    cert, key = map(str, certificate)
    monkeypatch.setenv("SSL_CERT_FILE", cert)
    farm = RunningServer(tmp_path / "farm", certfile=cert, keyfile=key)
    farm.url = farm.url.replace("http:", "https:")
    with farm:
        config = attached(farm, farm.token("researcher"))
        with Jupyter(tmp_path / "home", config, certificate=certificate) as jupyter:
            assert jupyter.url.startswith("https:")
            assert jupyter.http().get("/api/v2/token").json()["name"] == "researcher"
            trusting = ssl.create_default_context(cafile=cert)
            assert jupyter.snapshot(ssl=trusting)["type"] == "snapshot"
        monkeypatch.delenv("SSL_CERT_FILE")
        with Jupyter(tmp_path / "home", config) as stranger:
            answer = stranger.http().get("/api/v2/token")
            assert answer.status_code == 502
            assert farm.url in answer.json()["error"]["message"]


class Passed(tornado.web.RequestHandler):
    """What a lab's web server does: it passes on what comes under a prefix."""

    def initialize(self, to: str) -> None:
        self.to = to

    async def get(self) -> None:
        async with httpx.AsyncClient() as client:
            answer = await client.request(
                self.request.method or "GET",
                self.to + (self.request.uri or ""),
                headers=[(k, v) for k, v in self.request.headers.get_all() if k != "Host"]
                + [("Host", self.request.host)],
                content=self.request.body,
            )
        self.set_status(answer.status_code)
        for name, value in answer.headers.multi_items():
            if name not in ("content-length", "transfer-encoding", "content-encoding"):
                self.add_header(name, value)
        self.finish(answer.content or None)

    post = put = delete = get


class PassedSocket(tornado.websocket.WebSocketHandler):
    def initialize(self, to: str) -> None:
        self.to = to

    async def open(self) -> None:
        headers = {"Host": self.request.host, "Origin": self.request.headers["Origin"]}
        headers["Authorization"] = self.request.headers["Authorization"]
        self.beyond = await tornado.websocket.websocket_connect(
            tornado.httpclient.HTTPRequest(
                self.to.replace("http", "ws", 1) + (self.request.uri or ""), headers=headers
            ),
            on_message_callback=lambda text: text is not None and self.write_message(text),
        )

    def on_message(self, message: str | bytes) -> None:
        self.beyond.write_message(message)

    def on_close(self) -> None:
        self.beyond.close()


@contextmanager
def passing_on(prefix: str, to: str) -> Iterator[str]:
    """A reverse proxy on a thread of its own; its address."""
    port = free_port()
    up = threading.Event()
    ends: list[Callable[[], object]] = []

    async def serve() -> None:
        ended = asyncio.Event()
        ends.append(partial(asyncio.get_running_loop().call_soon_threadsafe, ended.set))
        routes = [
            (rf"{prefix}.*/live", PassedSocket, {"to": to}),
            (rf"{prefix}.*", Passed, {"to": to}),
        ]
        server = tornado.httpserver.HTTPServer(tornado.web.Application(routes))
        server.listen(port, "127.0.0.1")
        up.set()
        await ended.wait()
        server.stop()
        await server.close_all_connections()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    up.wait()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        ends[0]()
        thread.join()


def test_a_proxy_with_a_path_prefix_is_passed(tmp_path: Path, farm: RunningServer) -> None:
    config = attached(farm, farm.token("researcher"))
    jupyter = Jupyter(tmp_path / "home", config, base_url="/lab/one/")
    with jupyter, passing_on("/lab/one/", f"http://127.0.0.1:{jupyter.port}") as outside:
        token = {"Authorization": f"token {jupyter.token}"}
        headers = {**token, "Origin": outside}
        with httpx.Client(base_url=f"{outside}/lab/one/aifarm", headers=headers) as http:
            assert http.get("/info").json()["state"] == "attached"
            made = http.post("/api/v2/tasks", json=TASK)
            assert made.status_code == 201
            assert http.delete(f"/api/v2/tasks/{made.json()['id']}").status_code == 204
        url = f"{outside.replace('http', 'ws', 1)}/lab/one/aifarm/api/v2/live"
        with connect(url, origin=outside, additional_headers=token) as socket:  # type: ignore[arg-type]
            socket.send(json.dumps({"type": "subscribe", "topics": ["farm"]}))
            assert json.loads(socket.recv(timeout=60))[0]["type"] == "snapshot"


# ---------------------------------------------------------------- JupyterHub


def hub(name: str) -> dict[str, str]:
    """What a hub puts into the environment of a person's server."""
    return {
        "JUPYTERHUB_USER": name,
        "JUPYTERHUB_SERVICE_PREFIX": f"/user/{name}/",
        "JUPYTERHUB_SERVER_NAME": "",
    }


def test_under_a_hub_no_farm_is_started_and_the_sentence_says_what_to_set(tmp_path: Path) -> None:
    with Jupyter(tmp_path, base_url="/user/ada/", **hub("ada")) as jupyter:
        info = jupyter.http().get("/info").json()
        assert info["state"] == "away"
        assert "c.AIFarm.url" in info["problem"]
        refused = jupyter.http().get("/api/v2/tasks")
        assert refused.status_code == 503
        assert refused.json()["error"]["message"] == info["problem"]
        with jupyter.live() as socket:
            code, reason = closed_with(socket)
        assert code == 1013
        assert reason.startswith("This server runs under JupyterHub")
    assert not (tmp_path / ".local/share/aifarm").exists()


def test_two_people_of_a_hub_work_in_their_own_names(tmp_path: Path, farm: RunningServer) -> None:
    """One site-wide file for all; each person's token lies where only that person reads."""
    site = (
        "import os\n"
        f"c.AIFarm.url = {farm.url!r}\n"
        f"c.AIFarm.token_file = '{tmp_path}/tokens/' + os.environ['JUPYTERHUB_USER']\n"
    )
    (tmp_path / "tokens").mkdir()
    servers = {}
    for name in ("ada", "ben"):
        (tmp_path / "tokens" / name).write_text(farm.token("researcher", name) + "\n")
        home = tmp_path / name
        servers[name] = Jupyter(home, site, base_url=f"/user/{name}/", **hub(name))
    with servers["ada"] as ada, servers["ben"] as ben:
        made = ada.http().post("/api/v2/tasks", json=TASK).json()
        assert made["submitter"] == "ada"
        assert ben.http().post("/api/v2/tasks", json=TASK).json()["submitter"] == "ben"
        path = f"/api/v2/tasks/{made['id']}/status"
        assert ben.http().put(path, json={"status": "stopped"}).status_code == 403
        assert ada.http().put(path, json={"status": "stopped"}).status_code == 200
        assert not (ada.home / ".local/share/aifarm").exists()


# ---------------------------------------------------------------- kernels

FIND = """
import aifarm
with aifarm.connect() as farm:
    print("found", farm.url, farm.my_token().name)
"""

ALONE = """
import sys
for name in ("torch", "ipywidgets", "anywidget", "jupyter_server", "sqlalchemy", "tornado",
             "traitlets", "IPython", "psutil", "alembic"):
    sys.modules[name] = None  # what an environment with the SDK alone has not
import aifarm
with aifarm.connect() as farm:
    print("found", farm.url, farm.my_token().name, *farm._repr_mimebundle_())
"""


def test_kernels_find_the_farm_that_jupyter_is_attached_to(
    tmp_path: Path, farm: RunningServer
) -> None:
    """Also where the environment names another: what Jupyter was told wins, as in its panel."""
    config = attached(farm, farm.token("researcher"))
    wrong = {"AIFARM_URL": "http://127.0.0.1:9", "AIFARM_TOKEN": "another farm's"}
    with Jupyter(tmp_path / "home", config, **wrong) as jupyter, jupyter.kernel() as cells:
        assert cells.run(FIND) == f"found {farm.url} researcher\n"
        token = farm.token("researcher")
        environ = cells.run("import os; print(dict(os.environ))")
        assert token not in environ
        alone = f"import subprocess, sys; print(subprocess.run([sys.executable, '-c', {ALONE!r}], "
        alone += "capture_output=True, text=True))"
        assert f"found {farm.url} researcher text/plain" in cells.run(alone)


def test_the_file_for_kernels_is_for_this_person_only_and_goes_with_jupyter(
    tmp_path: Path, farm: RunningServer
) -> None:
    with Jupyter(tmp_path / "home", attached(farm, farm.token("researcher"))) as jupyter:
        files = list(jupyter.runtime.glob("aifarm-*"))
        assert len(files) == 2
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert list(jupyter.runtime.glob("aifarm-*")) == []
