"""Which farm a program speaks to, and that a token goes to no other."""

import stat
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aifarm.sdk import FarmUnreachable, InsecureFarm, InvalidRequest, Unauthorized
from aifarm.sdk import config as settings
from aifarm.sdk.config import (
    FARM_FILE_VARIABLE,
    Source,
    announce_start,
    find,
    normal,
    resolve,
    secure,
    withdraw_start,
    write_farm_file,
)

NOWHERE: dict[str, str] = {}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No farm of the person who runs the tests is found."""
    monkeypatch.setattr(settings, "config_file", lambda: tmp_path / "config.toml")
    monkeypatch.setattr(settings, "data_folder", lambda kind: tmp_path / kind)
    return tmp_path


def test_arguments_win_over_environment_and_environment_over_the_file(home: Path) -> None:
    (home / "config.toml").write_text('url = "http://127.0.0.1:3"\ntoken = "file"\n')
    environ = {"AIFARM_URL": "http://127.0.0.1:2", "AIFARM_TOKEN": "environment"}
    by_hand = find("http://127.0.0.1:1", "argument", environ=environ)
    assert (by_hand.url, by_hand.token) == ("http://127.0.0.1:1", "argument")
    by_environment = find(environ=environ)
    assert (by_environment.url, by_environment.token) == ("http://127.0.0.1:2", "environment")
    by_file = find(environ=NOWHERE)
    assert (by_file.url, by_file.token) == ("http://127.0.0.1:3", "file")


@pytest.mark.parametrize("given", [["http://127.0.0.1:1/", "http://127.0.0.1:2"], None])
def test_a_farm_may_have_several_servers(home: Path, given: list[str] | None) -> None:
    environ = {"AIFARM_URL": "http://127.0.0.1:1,http://127.0.0.1:2", "AIFARM_TOKEN": "t"}
    found = find(given, environ=environ)
    assert (found.url, found.others, found.token) == (
        "http://127.0.0.1:1",
        ("http://127.0.0.1:2",),
        "t",
    )
    (home / "config.toml").write_text(
        'url = ["http://127.0.0.1:1", "http://127.0.0.1:2"]\ntoken = "file"\n'
    )
    assert find(environ=NOWHERE).others == found.others


def test_a_token_for_one_server_does_not_go_to_two(home: Path) -> None:
    (home / "config.toml").write_text('url = "http://127.0.0.1:1"\ntoken = "file"\n')
    with pytest.raises(Unauthorized):
        find(["http://127.0.0.1:1", "http://127.0.0.1:2"], environ=NOWHERE)


def test_each_of_several_servers_must_be_safe() -> None:
    with pytest.raises(InsecureFarm, match="http://elsewhere"):
        find(["http://127.0.0.1:1", "http://elsewhere"], "t", environ=NOWHERE)


def test_a_token_file_named_in_the_config_file_is_read(home: Path) -> None:
    (home / "secret").write_text("from a file\n")
    (home / "config.toml").write_text(
        f'url = "http://127.0.0.1:3"\ntoken_file = "{home / "secret"}"\n'
    )
    assert find(environ=NOWHERE).token == "from a file"


@pytest.mark.parametrize("kind", ["dev/server", "server"])
def test_a_farm_that_runs_on_this_machine_is_found(home: Path, kind: str) -> None:
    folder = home / kind
    folder.mkdir(parents=True)
    (folder / "token").write_text("local\n")
    path = write_farm_file(folder / "farm.json", "http://127.0.0.1:9", folder / "token")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = find(environ=NOWHERE)
    assert (found.url, found.token) == ("http://127.0.0.1:9", "local")
    assert str(path) in found.where


def test_a_farm_that_is_starting_is_waited_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, token = home / "jupyter.json", home / "token"
    token.write_text("t")
    announce_start(path)
    monkeypatch.setattr(time, "sleep", lambda _: write_farm_file(path, "http://127.0.0.1:9", token))
    assert find(environ={FARM_FILE_VARIABLE: str(path)}).url == "http://127.0.0.1:9"
    withdraw_start(path)
    assert find(environ={FARM_FILE_VARIABLE: str(path)}).url == "http://127.0.0.1:9"


def test_a_farm_that_cannot_start_is_not_waited_for_any_more(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "jupyter.json"
    announce_start(path)
    monkeypatch.setattr(time, "sleep", lambda _: withdraw_start(path))
    with pytest.raises(FarmUnreachable, match="No farm is known"):
        find(environ={FARM_FILE_VARIABLE: str(path)})


def test_where_nothing_is_known_the_sentence_says_what_to_do() -> None:
    with pytest.raises(FarmUnreachable, match=r"aifarm dev.*AIFARM_URL"):
        find(environ=NOWHERE)
    with pytest.raises(Unauthorized, match="aifarm token create"):
        find("http://127.0.0.1:1", environ=NOWHERE)


@pytest.mark.parametrize("line", ["url = 3", "ulr = 'http://h'", "url = ["])
def test_a_config_file_that_cannot_be_used_is_named(home: Path, line: str) -> None:
    (home / "config.toml").write_text(line)
    with pytest.raises(InvalidRequest, match=r"config\.toml"):
        find(environ=NOWHERE)


def test_the_token_stays_at_home_without_tls_unless_allowed() -> None:
    with pytest.raises(InsecureFarm, match="clear text"):
        find("http://farm.example:8765", "t", environ=NOWHERE)
    assert find("https://farm.example", "t", environ=NOWHERE).token == "t"
    assert find("http://farm.example", "t", allow_plaintext=True, environ=NOWHERE).token == "t"


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("http://localhost:1", True),
        ("http://127.8.9.1", True),
        ("http://[::1]:8765", True),
        ("https://farm.example", True),
        ("http://farm.example", False),
        ("http://192.168.0.7", False),
        ("http://localhost.example", False),
        ("http://127.0.0.1.example", False),
    ],
)
def test_only_tls_and_loopback_are_secure(url: str, safe: bool) -> None:
    assert secure(url) is safe


@pytest.mark.parametrize(
    "url", ["farm:8765", "ws://farm:8765", "http://", "http://me:pw@farm", "http://farm/?x=1"]
)
def test_what_is_no_farm_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        normal(url)


def test_a_token_does_not_show_in_repr() -> None:
    assert "secret" not in repr(find("http://127.0.0.1", "secret", environ=NOWHERE))


urls = st.sampled_from([None, "http://127.0.0.1:1", "http://127.0.0.1:2/", "http://127.0.0.1:3"])
tokens = st.sampled_from([None, "a", "b", "c"])
places = st.lists(st.builds(Source, st.just("a place"), urls, tokens), max_size=5)


@given(places)
def test_a_token_goes_only_to_a_farm_that_its_place_does_not_contradict(
    sources: list[Source],
) -> None:
    try:
        found = resolve(iter(sources))
    except (FarmUnreachable, Unauthorized):
        return
    named = [source for source in sources if source.url]
    assert found.url == normal(named[0].url or "")
    assert any(
        source.token == found.token and (not source.url or normal(source.url) == found.url)
        for source in sources
    )
