"""The dashboard's page, and what a browser may do that logged in to it."""

from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from aifarm.app.logins import MAX_LOGINS
from aifarm.web.session import COOKIE
from integration.running import RunningServer, closed_with

PAGE = {"X-AIFarm-Page": "1"}


@pytest.fixture
def browser(shared_server: RunningServer) -> Iterator[httpx.Client]:
    """One that has logged in as a researcher."""
    token = shared_server.token("researcher")
    with httpx.Client(base_url=shared_server.url) as client:
        answer = client.post("/api/v2/session", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 204
        yield client


def live(server: RunningServer, cookie: str, origin: str | None) -> None:
    """Opens the live socket as a browser does. Raises InvalidStatus."""
    url = f"ws://127.0.0.1:{server.port}/api/v2/live"
    headers = {"Cookie": cookie}
    with connect(url, additional_headers=headers, origin=origin):  # type: ignore[arg-type]
        pass


def test_a_browser_gets_a_page_that_loads_nothing_from_elsewhere(
    shared_server: RunningServer,
) -> None:
    page = httpx.get(shared_server.url)
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "https://" not in page.text
    script = httpx.get(f"{shared_server.url}/static/dashboard.js")
    assert script.status_code == 200
    assert "javascript" in script.headers["Content-Type"]


@pytest.mark.parametrize("path", ["../app.py", "%2e%2e/app.py", "nothing.js", "..%2fapp.py"])
def test_nothing_but_the_front_end_is_served(shared_server: RunningServer, path: str) -> None:
    assert httpx.get(f"{shared_server.url}/static/{path}").status_code in (401, 403, 404)


def test_a_log_in_is_a_cookie_that_no_script_can_read(shared_server: RunningServer) -> None:
    token = shared_server.token("researcher")
    headers = {"Authorization": f"Bearer {token}"}
    cookie = httpx.post(f"{shared_server.url}/api/v2/session", headers=headers).headers[
        "Set-Cookie"
    ]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    refused = httpx.post(
        f"{shared_server.url}/api/v2/session", headers={"Authorization": "Bearer wrong"}
    )
    assert refused.status_code == 401
    assert "Set-Cookie" not in refused.headers


def session(server: RunningServer, token: str) -> tuple[str, int]:
    """What the cookie of a new log-in holds, and for how many seconds a browser keeps it."""
    answer = httpx.post(
        f"{server.url}/api/v2/session", headers={"Authorization": f"Bearer {token}"}
    )
    cookie = answer.headers["Set-Cookie"]
    age = next(part for part in cookie.split("; ") if part.startswith("Max-Age="))
    return cookie.split(";")[0].partition("=")[2], int(age.partition("=")[2])


def test_a_cookie_is_no_token_and_a_token_is_no_cookie(shared_server: RunningServer) -> None:
    token = shared_server.token("researcher")
    secret, _ = session(shared_server, token)
    assert secret not in (token, "")
    address = f"{shared_server.url}/api/v2/token"
    assert httpx.get(address, cookies={COOKIE: secret}).status_code == 200
    assert httpx.get(address, cookies={COOKIE: token}).status_code == 401
    as_token = {"Authorization": f"Bearer {secret}"}
    assert httpx.get(address, headers=as_token).status_code == 401


def test_a_log_in_ends_with_its_token(shared_server: RunningServer) -> None:
    token = shared_server.token("viewer", "for-a-minute", expires=60)
    secret, age = session(shared_server, token)
    assert 0 < age <= 60
    address = f"{shared_server.url}/api/v2/token"
    known = httpx.get(address, cookies={COOKIE: secret}).json()
    cookie = {"Cookie": f"{COOKIE}={secret}"}
    with connect(
        f"ws://127.0.0.1:{shared_server.port}/api/v2/live",
        additional_headers=cookie,
        origin=shared_server.url,  # type: ignore[arg-type]
    ) as socket:
        shared_server.http().delete(f"/api/v2/tokens/{known['id']}")
        assert closed_with(socket) == (1008, "the token was revoked")
    assert httpx.get(address, cookies={COOKIE: secret}).status_code == 401


def test_who_logs_out_is_out_with_all_that_this_browser_opened(
    shared_server: RunningServer,
) -> None:
    token = shared_server.token("researcher")
    secret, _ = session(shared_server, token)
    other, _ = session(shared_server, token)
    address = f"{shared_server.url}/api/v2"
    with connect(
        f"ws://127.0.0.1:{shared_server.port}/api/v2/live",
        additional_headers={"Cookie": f"{COOKIE}={secret}"},
        origin=shared_server.url,  # type: ignore[arg-type]
    ) as socket:
        out = httpx.delete(f"{address}/session", headers=PAGE, cookies={COOKIE: secret})
        assert out.status_code == 204
        assert closed_with(socket) == (1008, "logged out")
    # A copy of the cookie is worth nothing; another browser, and the token, are as they were.
    assert httpx.get(f"{address}/token", cookies={COOKIE: secret}).status_code == 401
    assert httpx.get(f"{address}/token", cookies={COOKIE: other}).status_code == 200
    assert shared_server.http(token).get("/api/v2/token").status_code == 200


def test_a_token_has_so_many_browsers_and_the_oldest_gives_way(
    shared_server: RunningServer,
) -> None:
    token = shared_server.token("viewer", "in-many-browsers")
    secrets = [session(shared_server, token)[0] for _ in range(MAX_LOGINS + 1)]
    address = f"{shared_server.url}/api/v2/token"
    answers = [httpx.get(address, cookies={COOKIE: one}).status_code for one in secrets]
    assert answers == [401] + [200] * MAX_LOGINS


def test_who_logged_in_reads_and_changes_from_the_farms_own_page(browser: httpx.Client) -> None:
    assert browser.get("/api/v2/token").json()["role"] == "researcher"
    body = {"name": "nothing", "version": "1"}
    assert browser.post("/api/v2/tasks", json=body, headers=PAGE).status_code == 404
    assert browser.delete("/api/v2/session", headers=PAGE).status_code == 204
    assert browser.get("/api/v2/token").status_code == 401


def test_row_7_another_page_can_do_nothing_with_the_cookie(
    browser: httpx.Client, shared_server: RunningServer
) -> None:
    body = {"name": "nothing", "version": "1"}
    assert browser.post("/api/v2/tasks", json=body).status_code == 401
    foreign = {"Origin": "https://elsewhere.example"}
    assert browser.get("/api/v2/tasks", headers=foreign).status_code == 401
    assert browser.post("/api/v2/tasks", json=body, headers={**PAGE, **foreign}).status_code == 401
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    live(shared_server, cookie, shared_server.url)
    for origin in (None, "https://elsewhere.example"):
        with pytest.raises(InvalidStatus) as refused:
            live(shared_server, cookie, origin)
        assert refused.value.response.status_code in (401, 403)
