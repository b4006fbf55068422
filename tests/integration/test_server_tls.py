"""SECURITY row 27: TLS by flags, verified by agents, SDK and REST clients; plain text warns."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import aifarm
from aifarm.sdk.errors import FarmUnreachable, InsecureFarm
from aifarm.server import ServerError, Settings, run
from integration.running import RunningServer


@pytest.fixture
def secure(
    tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningServer]:
    """A farm under TLS, which this process trusts."""
    cert, key = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    server = RunningServer(tmp_path / "farm", certfile=str(cert), keyfile=str(key))
    server.url = server.url.replace("http:", "https:")
    with server:
        yield server


def test_row_27_rest_and_sdk_verify_the_certificate(
    secure: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with aifarm.connect(secure.url, secure.admin_token) as farm:
        assert farm.clients() == []
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(FarmUnreachable, match="certificate is not trusted"):
        aifarm.connect(secure.url, secure.admin_token)
    with pytest.raises(httpx.ConnectError, match="certificate"):
        httpx.get(f"{secure.url}/api/health")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{secure.url.replace('https', 'http')}/api/health")


def agent(server: RunningServer, folder: Path, *more: str) -> "subprocess.Popen[str]":
    token = folder / "token"
    token.write_text(server.token("agent"))
    url = server.url.replace("http", "ws", 1)
    command = [sys.executable, "-m", "aifarm_agent", "--server", url, "--token-file", str(token)]
    place = ["--work-dir", str(folder / "work"), "--client-id", "ws1", "--gpus", "none"]
    return subprocess.Popen([*command, *place, *more], stderr=subprocess.PIPE, text=True)


def test_row_27_an_agent_verifies_the_certificate(
    secure: RunningServer,
    certificate: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    http = secure.http(secure.admin_token)
    secure.token("agent")  # while this process trusts the farm
    monkeypatch.delenv("SSL_CERT_FILE")
    with agent(secure, tmp_path) as stranger:
        assert stranger.stderr is not None
        try:
            assert any("certificate verify failed" in line for line in stranger.stderr)
        finally:
            stranger.terminate()
    assert http.get("/api/clients").json()["clients"] == []
    with agent(secure, tmp_path, "--cafile", str(certificate[0])) as trusting:
        try:
            while not http.get("/api/clients").json()["clients"]:
                assert trusting.poll() is None
        finally:
            trusting.terminate()


def test_row_27_plain_transport_off_loopback_is_asked_for_and_warned_of(
    tmp_path: Path,
) -> None:
    """Any address but the usual names of this machine counts as a network's."""
    with pytest.raises(ServerError, match="needs TLS"):
        run(Settings(host="127.0.0.2", port=0, data_dir=tmp_path / "farm"))
    log = tmp_path / "log"
    server = RunningServer(tmp_path / "farm", log=log, host="127.0.0.2", allow_plaintext=True)
    server.url = server.url.replace("127.0.0.1", "127.0.0.2")
    with server:
        assert "travel readable" in log.read_text()
    with pytest.raises(InsecureFarm):
        aifarm.connect("http://203.0.113.7:8765", "token")


def test_row_27_an_agent_warns_of_plain_transport_off_loopback(tmp_path: Path) -> None:
    class Elsewhere:
        url = "http://agents.invalid:1"

        def token(self, role: str) -> str:
            return "token"

    with agent(Elsewhere(), tmp_path) as exposed:  # type: ignore[arg-type]
        assert exposed.stderr is not None
        try:
            assert any("travel unencrypted" in line for line in exposed.stderr)
        finally:
            exposed.terminate()
