"""Which farm a Jupyter server stands in front of, and when it may be shut down as idle."""

from pathlib import Path

import pytest

from aifarm.sdk import config as settings
from aifarm_jupyter.embedded import Embedded
from aifarm_jupyter.extension import AIFarm
from aifarm_jupyter.farms import Attached, Missing


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No farm of the person who runs the tests is found."""
    monkeypatch.setattr(settings, "config_file", lambda: tmp_path / "config.toml")
    for name in ("AIFARM_URL", "AIFARM_TOKEN", "AIFARM_FARM_FILE", "JUPYTERHUB_SERVICE_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_farm_that_is_named_is_attached_with_the_token_of_its_file(home: Path) -> None:
    (home / "token").write_text("t1\n")
    farm = AIFarm(url="https://farm.invalid https://spare.invalid", token_file=f"{home}/token")
    chosen = farm.choose()
    assert isinstance(chosen, Attached)
    assert chosen.address is not None
    assert (chosen.address.url, chosen.address.token) == ("https://farm.invalid", "t1")
    assert chosen.address.others == ("https://spare.invalid",)


@pytest.mark.parametrize(
    ("traits", "told"),
    [
        ({"url": "farm:8765"}, "not a farm's URL"),
        ({"url": "https://farm.invalid"}, "No token for https://farm.invalid"),
        ({"url": "http://farm.invalid", "token": "x"}, "in clear text"),
        (
            {"url": "https://farm.invalid", "token_file": "/no/such/file"},
            "No token can be read from /no/such/file",
        ),
    ],
)
def test_a_setting_that_cannot_be_used_is_a_sentence(traits: dict[str, str], told: str) -> None:
    chosen = AIFarm(**traits).choose()
    assert isinstance(chosen, Missing)
    assert told in (chosen.problem or "")


def test_a_token_travels_readable_where_that_is_asked_for() -> None:
    farm = AIFarm(url="http://farm.invalid", token="x", allow_plaintext=True)
    assert isinstance(farm.choose(), Attached)


def test_where_none_is_named_one_of_this_machine_is_run_but_not_under_a_hub(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = AIFarm(data_dir=f"{home}/data").choose()
    assert isinstance(own, Embedded)
    assert own.data_dir == home / "data"
    own.stop()
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ada/")
    assert isinstance(AIFarm().choose(), Missing)


def test_tasks_that_are_not_over_keep_their_jupyter_from_ending_as_idle() -> None:
    extension = AIFarm()
    assert extension.current_activity() is None
    extension.farm = Missing("")
    extension.farm.busy = True
    assert extension.current_activity()
