"""What a server believes of a request, and allows a browser: rows of the security checklist."""

import re
from pathlib import Path

import httpx

from aifarm.app.scopes import SCOPES
from aifarm.web.routes import ROUTES
from integration.running import RunningServer


def test_row_22_forms_and_multipart_are_no_bodies(shared_server: RunningServer) -> None:
    http = shared_server.http()
    before = http.get("/api/v2/tasks").json()["total"]
    form = {"name": "model", "version": "1.0"}
    files = {name: (None, value) for name, value in form.items()}
    for answer in (http.post("/api/tasks", data=form), http.post("/api/tasks", files=files)):
        assert answer.status_code == 400
        assert answer.json()["error"]["details"]["field"] == "body"
    assert http.get("/api/v2/tasks").json()["total"] == before


def test_row_25_nobody_is_believed_to_be_a_proxy(tmp_path: Path) -> None:
    """Neither who it speaks for, which would reset a guesser's limit, nor where the farm is."""
    with RunningServer(tmp_path / "farm", rate_limit=300) as server:
        guesses = [
            httpx.get(
                f"{server.url}/api/tasks",
                headers={
                    "Authorization": "Bearer guess",
                    "X-Forwarded-For": f"10.0.0.{number}",
                    "X-Real-Ip": f"10.0.0.{number}",
                },
            ).status_code
            for number in range(8)
        ]
        assert guesses.count(401) <= 6, "3 in each of two windows, should one turn meanwhile"
        assert 429 in guesses
        forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
        listed = server.http().get("/api/tasks", headers=forwarded)
        assert listed.links["first"]["url"].startswith(f"{server.url}/api/tasks")


def test_row_26_no_answer_can_be_framed_guessed_at_or_followed_elsewhere(
    shared_server: RunningServer,
) -> None:
    for route in ROUTES:
        path = re.sub(r"\{\w+\}", "x", route.path)
        role = next(role for role in SCOPES if route.scope is None or route.scope in SCOPES[role])
        answer = shared_server.http(shared_server.token(role)).request(route.method, path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy, path
        assert "frame-ancestors 'none'" in policy, path
        assert answer.headers["X-Content-Type-Options"] == "nosniff", path
        assert not answer.is_redirect, path


def test_row_26_stored_bytes_are_saved_not_shown(shared_server: RunningServer) -> None:
    shared_server.publish("page", source="'<script>'\ndef build_model(cfg): ...\n")
    got = shared_server.http().get("/models/page/1.0")
    assert got.headers["Content-Disposition"].startswith("attachment")
    assert got.headers["Content-Type"] == "application/octet-stream"
