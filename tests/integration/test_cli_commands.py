"""The commands against a real server; the workstations do what the test says."""

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from zipfile import ZipFile

import pytest

from integration.running import RunningServer
from integration.scripted import ScriptedAgent
from integration.shell import Shell

names = (f"station{number}" for number in count(1))

GOING = ("pending", "assigned", "running", "paused", "unreachable")


@pytest.fixture
def aifarm(shared_server: RunningServer, tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(shared_server, tmp_path)
    yield shell
    left = shell("tasks", *(f"--status={state}" for state in GOING), "--ids").out.split()
    if left:
        shell("stop", *left)  # so that no later test's agent is given them


@pytest.fixture
def agent(shared_server: RunningServer) -> Iterator[ScriptedAgent]:
    with ScriptedAgent(shared_server, next(names)) as scripted:
        yield scripted


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "model.py").write_text("def build_model(cfg): ...\ndef build_data(cfg): ...\n")
    return folder


@pytest.fixture
def task_id(aifarm: Shell, model: Path) -> str:
    aifarm("publish", str(model), "--name", "model", "--version", "1.0")
    return aifarm("submit", "model:1.0", "--epochs", "2").out.strip()


def test_publish_and_submit_print_what_a_script_needs(aifarm: Shell, model: Path) -> None:
    published = aifarm("publish", str(model), "--name", "scripted", "--version", "2")
    assert (published.code, published.out) == (0, "scripted:2\n")
    submitted = aifarm(
        "submit", "scripted", "--n-clients", "3", "--set", "hidden=64", "--set", "act=relu"
    )
    assert submitted.code == 0
    shown = json.loads(aifarm("show", submitted.out.strip(), "--json").out)
    assert shown["id"] == submitted.out.strip()
    assert (shown["version"], shown["n_clients"], shown["distributed"]) == ("2", 3, True)
    assert shown["config"] == {"hidden": 64, "act": "relu"}


def test_submit_with_watch_ends_with_the_task_and_its_exit_code(
    aifarm: Shell, task_id: str, agent: ScriptedAgent
) -> None:
    agent.take()
    agent.end()
    for outcome, code in (("completed", 0), ("failed", 1)):
        with aifarm.start("submit", "model", "--watch") as watching:
            agent.take()
            agent.running()
            agent.progress(50.0, 1, loss=0.5)
            agent.end(outcome, message="the forward fails")
            out, err = watching.communicate(timeout=60)
        assert watching.returncode == code
        assert agent.task is not None
        assert out.strip() == agent.task.id
        assert outcome in err


def test_a_task_is_listed_shown_and_its_story_told(
    aifarm: Shell, task_id: str, agent: ScriptedAgent
) -> None:
    waits = aifarm("show", task_id[:8])
    assert waits.code == 0
    agent.take()
    agent.running()
    agent.log("epoch 1", "epoch 2")
    agent.progress(50.0, 1, loss=0.25)
    agent.checkpoint(b"weights", step=1)
    listed = aifarm("tasks").out
    assert task_id[:8] in listed
    assert agent.name in listed
    shown = aifarm("show", task_id[:8], "--events").out
    for part in ("50.0 %", "loss 0.25", agent.name, "step 1", "Submitted by admin", "Running on"):
        assert part in shown
    assert aifarm("logs", task_id[:8]).out == "epoch 1\nepoch 2\n"
    with aifarm.start("logs", "-f", task_id) as following:
        agent.log("epoch 3")
        agent.end()
        assert following.communicate(timeout=60)[0] == "epoch 1\nepoch 2\nepoch 3\n"
    assert following.returncode == 0
    story = json.loads(aifarm("show", task_id, "--events", "--json").out)
    assert story[0]["kind"] == "submitted"


def test_a_pending_task_says_why(aifarm: Shell, task_id: str, agent: ScriptedAgent) -> None:
    agent.take()
    wide = aifarm("submit", "model", "--min-cpu-cores", "64").out.strip()
    shown = aifarm("show", wide).out
    assert "pending" in shown
    assert agent.name in shown
    assert "64" in shown


def test_pause_resume_and_stop_say_what_is_so(
    aifarm: Shell, task_id: str, agent: ScriptedAgent
) -> None:
    agent.take()
    agent.running()
    told = aifarm("pause", task_id[:8], "--reason", "lunch")
    assert told.out == f"Task {task_id[:8]} is to be paused; for now it is running.\n"
    agent.paused()
    assert aifarm("pause", task_id).out == f"Task {task_id[:8]} is paused.\n"
    assert aifarm("resume", task_id).code == 0
    assert aifarm("stop", task_id).code == 0
    agent.end("stopped", cause="stopped")
    final = aifarm("pause", task_id)
    assert final.code == 2
    assert final.err.startswith("aifarm: ")


def test_tasks_are_described_found_and_listed_by_columns(aifarm: Shell, task_id: str) -> None:
    more = ["--title", "Titled", "--project", "lists", "--tag", "t1", "--env", "SECRET=x"]
    titled = aifarm("submit", "model", *more, "--set", "width=8").out.strip()
    found = ["tasks", "--project", "lists", "--tag", "t1", "--where", "config.width=8"]
    assert aifarm(*found, "--ids").out == f"{titled}\n"
    header, row = aifarm(*found, "--columns", "title,config.width").out.splitlines()
    assert header.split() == ["TITLE", "CONFIG.WIDTH"]
    assert row.split() == ["Titled", "8"]
    assert aifarm("edit", titled, "--title", "Renamed", "--notes", "See.").code == 0
    assert aifarm("tag", "t2", titled).out == f"Task {titled[:8]} is tagged t2.\n"
    assert aifarm("untag", "t1", titled).code == 0
    shown = json.loads(aifarm("show", titled, "--json").out)
    assert (shown["title"], shown["notes"], shown["tags"]) == ("Renamed", "See.", ["t2"])
    assert shown["env"] == {"SECRET": "x"}
    card = aifarm("show", titled).out
    for part in ("Renamed", "lists", "t2", "See."):
        assert part in card
    assert "SECRET" not in card


def test_many_are_stopped_deleted_and_restored(aifarm: Shell, task_id: str) -> None:
    other = aifarm("submit", "model").out.strip()
    told = aifarm("stop", task_id[:8], other[:8])
    assert told.out.splitlines() == [
        f"Task {one[:8]} is to be stopped." for one in (task_id, other)
    ]
    assert aifarm("delete", task_id, other).code == 0
    assert aifarm("show", task_id).code == 4
    trash = json.loads(aifarm("tasks", "--trash", "--json").out)
    assert {task_id, other} <= {one["id"] for one in trash}
    assert aifarm("restore", other[:8]).out == f"Task {other[:8]} is back.\n"
    assert aifarm("show", other).code == 0
    missing = aifarm("stop", other, "no-such-task")
    assert missing.code == 4


def test_a_task_is_repeated_from_its_checkpoint_which_can_be_kept_and_fetched(
    aifarm: Shell, task_id: str, agent: ScriptedAgent, tmp_path: Path
) -> None:
    agent.take()
    agent.running()
    agent.progress(50.0, 1, loss=0.5)
    agent.progress(60.0, 2, loss=0.25)
    agent.checkpoint(b"weights", step=2, best=True)
    agent.end()
    (found,) = json.loads(aifarm("checkpoint", "list", task_id, "--json").out)
    assert aifarm("checkpoint", "pin", task_id, found["id"][:8]).code == 0
    assert "pinned best" in aifarm("checkpoint", "list", task_id).out
    assert aifarm("checkpoint", "delete", task_id, found["id"]).code == 2
    path = aifarm("checkpoint", "download", task_id, "-o", str(tmp_path / "model.pt")).out.strip()
    assert Path(path).read_bytes() == b"weights"
    curves = aifarm("metrics", task_id, "loss").out.splitlines()
    assert curves[1].split()[:3] == ["loss", "0.25", "0.25"]
    assert "no metric speed" in aifarm("metrics", task_id, "speed").err
    again = aifarm("retry", task_id[:8]).out.strip()
    shown = json.loads(aifarm("show", again, "--json").out)
    assert (shown["parent"], shown["from_checkpoint"]) == (task_id, found["id"])


def test_what_a_task_keeps_is_listed_and_downloaded(
    aifarm: Shell, task_id: str, agent: ScriptedAgent, tmp_path: Path
) -> None:
    agent.take()
    agent.running()
    assert "keeps no files yet" in aifarm("outputs", task_id).err
    agent.outputs({"out/model.pt": b"weights", "samples.csv": b"1,2"})
    agent.end()
    listed = aifarm("outputs", task_id).out
    assert [line.split()[0] for line in listed.splitlines()[1:]] == ["out/model.pt", "samples.csv"]
    done = aifarm("outputs", task_id[:8], "--download", str(tmp_path / "here"), "--json")
    assert [one["path"] for one in json.loads(done.out)] == ["out/model.pt", "samples.csv"]
    assert (tmp_path / "here" / "out" / "model.pt").read_bytes() == b"weights"
    assert "2 files" in done.err
    aifarm("outputs", task_id, "--zip", str(tmp_path / "all.zip"))
    with ZipFile(tmp_path / "all.zip") as archive:
        assert archive.namelist() == ["out/model.pt", "samples.csv"]
    refused = aifarm("outputs", task_id, "--zip", "-", "--json")
    assert "Choose one of" in refused.err


def test_a_task_is_reproduced_and_compared(
    aifarm: Shell, task_id: str, agent: ScriptedAgent
) -> None:
    agent.take()
    agent.running(provenance={"python": "3.11.1", "packages": {"torch": "2.1"}})
    agent.progress(50.0, 1, loss=0.123456789)
    agent.checkpoint(b"weights", step=1)
    agent.end()
    with aifarm.start("reproduce", task_id[:8], "--watch", "--json") as watching:
        agent.take()
        agent.running(provenance={"python": "3.11.1", "packages": {"torch": "2.2"}})
        agent.progress(50.0, 1, loss=0.123456788)
        agent.end()
        out, err = watching.communicate(timeout=60)
    assert watching.returncode == 0, err
    assert json.loads(out) == [
        {"what": "provenance.packages.torch", "first": "2.1", "second": "2.2"},
        {"what": "metrics.loss", "first": 0.123456789, "second": 0.123456788},
    ]
    (again,) = json.loads(aifarm("tasks", "--json", "-n", "1").out)
    assert (again["parent"], again["from_checkpoint"]) == (task_id, None)
    shown = aifarm("compare", task_id, again["id"]).out.split()
    assert shown[:3] == ["WHAT", task_id[:8], again["id"][:8]]
    assert "0.123456788" in shown
    same = aifarm("compare", task_id, task_id)
    assert (same.code, same.out, same.err) == (0, "", "They do not differ.\n")


def test_events_are_told_and_followed(aifarm: Shell, task_id: str, agent: ScriptedAgent) -> None:
    told = aifarm("events", task_id).out
    assert "Submitted by admin" in told
    everything = aifarm("events").out
    assert f"{task_id[:8]} Submitted by admin" in everything, "whose story each line is"
    last = json.loads(aifarm("events", "-n", "1", "--json").out)
    assert len(last) == 1
    with aifarm.start("events", task_id, "-f", "--json") as following:
        assert following.stdout is not None
        kinds = [json.loads(following.stdout.readline())["kind"]]
        agent.take()
        agent.running()
        while kinds[-1] != "running":
            kinds.append(json.loads(following.stdout.readline())["kind"])
        following.terminate()
    agent.end()
    assert kinds[0] == "submitted"
    assert "assigned" in kinds


def test_a_client_is_shown_drained_and_taken_back(aifarm: Shell, agent: ScriptedAgent) -> None:
    assert aifarm("drain", agent.name, "--reason", "a new GPU").code == 0
    shown = aifarm("client", agent.name, "--events").out
    for part in ("drained", "a new GPU", "4, ", "8.0 GiB", "no attempt has ended here yet"):
        assert part in shown
    assert json.loads(aifarm("client", agent.name, "--json").out)["id"] == agent.name
    assert aifarm("undrain", agent.name).out == f"Client {agent.name} gets tasks again.\n"
    assert aifarm("forget", agent.name).code == 2
    assert aifarm("drain", "no-such-client").code == 4


def test_a_submission_is_checked_and_a_waiting_task_explained(
    aifarm: Shell, task_id: str, agent: ScriptedAgent
) -> None:
    agent.take()
    agent.end()
    fits = json.loads(aifarm("submit", "model", "--check", "--json").out)
    assert agent.name in fits["fits"]
    told = aifarm("submit", "model", "--check", "--min-ram", "1000000").out
    assert agent.name in told
    wide = aifarm("submit", "model", "--min-ram", "1000000").out.strip()
    assert agent.name in aifarm("why", wide[:8]).out
    assert json.loads(aifarm("why", wide, "--json").out)["id"] == wide


def test_every_point_is_printed_as_csv(aifarm: Shell, task_id: str, agent: ScriptedAgent) -> None:
    agent.take()
    agent.running()
    agent.progress(50.0, 1, loss=0.5)
    agent.log("one", "two")
    agent.end()
    assert aifarm("metrics", task_id, "--csv").out.startswith("name,step,time,value\nloss,1,")
    assert aifarm("logs", task_id, "-n", "1").out == "two\n"


def test_top_shows_the_farm_once_where_there_is_no_terminal(
    aifarm: Shell, task_id: str, agent: ScriptedAgent
) -> None:
    agent.take()
    agent.running()
    agent.progress(50.0, 1, loss=0.5)
    said = aifarm("top").out
    agent.end()
    paces = ("in the last hour", "metric points/s")
    for part in (agent.name, "GPU", task_id[:8], "50 %", *paces):
        assert part in said


def test_the_doctor_finds_what_is_wrong(
    aifarm: Shell, shared_server: RunningServer, agent: ScriptedAgent
) -> None:
    well = aifarm("doctor", "--json")
    states = {one["check"]: one["state"] for one in json.loads(well.out)}
    assert (well.code, states["token"], states["live feed"]) == (0, "ok", "ok")
    assert aifarm("doctor", AIFARM_TOKEN=shared_server.token("agent")).code == 1
    wrong = aifarm("doctor", AIFARM_TOKEN="wrong")
    assert wrong.code == 1
    assert "does not accept this token" in wrong.out
    dead = aifarm("doctor", AIFARM_URL="http://127.0.0.1:9")
    assert (dead.code, "does not answer" in dead.out) == (1, True)
    assert aifarm("doctor", AIFARM_URL="", AIFARM_TOKEN="").code == 1


def test_a_shell_completes_tasks_and_clients(
    aifarm: Shell, task_id: str, agent: ScriptedAgent
) -> None:
    def completed(*words: str) -> str:
        line = " ".join(("aifarm", *words))
        number = str(len(words))
        return aifarm(_AIFARM_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=number).out

    assert task_id[:8] in completed("show", task_id[:2])
    assert agent.name in completed("client", agent.name[:4])
    assert "model:1.0" in completed("submit", "mod")
    assert "show" in completed("sh")
    for shell in ("zsh", "fish"):
        assert "_AIFARM_COMPLETE" in aifarm("completion", shell).out


def test_a_server_is_found_on_its_own_machine(shared_server: RunningServer, tmp_path: Path) -> None:
    shell = Shell(shared_server, tmp_path)
    folder = tmp_path / "aifarm" / "server"
    folder.mkdir(parents=True)
    (folder / "farm.json").write_bytes((shared_server.data_dir / "farm.json").read_bytes())
    assert shell("tasks", AIFARM_URL="", AIFARM_TOKEN="").code == 0


def test_clients_and_packages_are_listed(aifarm: Shell, task_id: str, agent: ScriptedAgent) -> None:
    assert f"{agent.name}" in aifarm("clients").out
    assert any(one["id"] == agent.name for one in json.loads(aifarm("clients", "--json").out))
    assert "model" in aifarm("packages").out
    assert [one["name"] for one in json.loads(aifarm("packages", "--name", "model", "--json").out)]


def test_a_token_stands_alone_on_stdout_and_can_be_revoked(aifarm: Shell) -> None:
    made = aifarm("token", "create", "--role", "viewer", "--name", "eve", "--expires", "30d")
    secret = made.out.strip()
    assert made.out == f"{secret}\n"
    assert aifarm("tasks", AIFARM_TOKEN=secret).code == 0
    assert aifarm("token", "list", AIFARM_TOKEN=secret).code == 3
    listed = aifarm("token", "list")
    assert secret not in listed.out
    (found,) = [
        one for one in json.loads(aifarm("token", "list", "--json").out) if one["name"] == "eve"
    ]
    assert aifarm("token", "revoke", found["id"][:8]).code == 0
    assert aifarm("tasks", AIFARM_TOKEN=secret).code == 3


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "no-such-task"], 4),
        (["logs", "no-such-task"], 4),
        (["submit", "no-such-package"], 4),
        (["token", "revoke", "no-such-token"], 4),
        (["submit", "model", "--epochs", "0"], 2),
        (["submit", "model", "--min-ram", "-1"], 2),
    ],
)
def test_an_error_is_one_sentence_and_an_exit_code(
    aifarm: Shell, task_id: str, arguments: list[str], code: int
) -> None:
    told = aifarm(*arguments)
    assert (told.code, told.out) == (code, "")
    assert told.err.startswith("aifarm: ")
    assert len(told.err.splitlines()) == 1


def test_a_reader_that_has_enough_is_no_error(
    aifarm: Shell, task_id: str, agent: ScriptedAgent
) -> None:
    agent.take()
    agent.running()
    for _ in range(4):
        agent.log(*["x" * 200] * 1000)
    with aifarm.start("logs", task_id) as reading:
        assert reading.stdout is not None
        assert reading.stderr is not None
        reading.stdout.readline()
        reading.stdout.close()
        assert reading.stderr.read() == ""


def test_a_token_file_and_url_win_over_the_environment(
    aifarm: Shell, shared_server: RunningServer, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(shared_server.admin_token)
    flags = ["--url", shared_server.url, "--token-file", str(tmp_path / "token")]
    elsewhere = {"AIFARM_URL": "http://127.0.0.1:9", "AIFARM_TOKEN": "other"}
    assert aifarm("tasks", **elsewhere).code == 5
    assert aifarm("tasks", *flags, **elsewhere).code == 0


def test_without_any_farm_the_sentence_says_what_to_do(aifarm: Shell) -> None:
    told = aifarm("tasks", AIFARM_URL="", AIFARM_TOKEN="")
    assert told.code == 5
    assert "aifarm dev" in told.err


def test_an_agents_token_is_bound_to_a_label(aifarm: Shell) -> None:
    made = aifarm("token", "create", "--role", "agent", "--name", "pool", "--label", "pool=a")
    assert made.code == 0
    listed = json.loads(aifarm("token", "list", "--json").out)
    assert [token["label"] for token in listed if token["name"] == "pool"] == ["pool=a"]
    wrong = aifarm("token", "create", "--role", "viewer", "--name", "eve", "--label", "pool=a")
    assert wrong.code != 0
    assert "Only an agent's token" in wrong.err


def test_a_servers_options_may_stand_in_a_file(tmp_path: Path) -> None:
    """What is wrong with one is told before anything starts; the command line wins."""
    file = tmp_path / "server.toml"
    shown = []
    for text in ("rate-limit = 0", "colour = 1", "rate-limit =", 'host = "256.1.1.1"\nport = 0'):
        file.write_text(text)
        command = [sys.executable, "-m", "aifarm.cli", "server", "--config", str(file)]
        more = ["--data-dir", str(tmp_path / "farm")]
        done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2, done.stderr
        shown.append(done.stderr)
    for told, words in zip(
        shown, ("rate-limit", "colour", "cannot be used", "256.1.1.1"), strict=True
    ):
        assert words in told


def test_data_is_put_listed_named_and_deleted(aifarm: Shell, model: Path, tmp_path: Path) -> None:
    (tmp_path / "numbers.bin").write_bytes(b"12345")
    put = aifarm("put", str(tmp_path / "numbers.bin"))
    assert put.code == 0
    url = put.out.strip()
    assert url.startswith("aifarm:")
    assert "numbers.bin" in aifarm("data").out
    (listed,) = json.loads(aifarm("data", "--name", "numbers.bin", "--json").out)
    assert (listed["url"], listed["size"]) == (url, 5)
    aifarm("publish", str(model), "--name", "fed", "--data", f"test={url}")
    task_id = aifarm("submit", "fed", "--data", f"train={url}").out.strip()
    named = json.loads(aifarm("show", task_id, "--json").out)["data"]
    assert set(named) == {"train", "test"}
    assert f"train={url[:60]}" in aifarm("show", task_id).out
    refused = aifarm("data", "delete", url)
    assert (refused.code, "is not over" in refused.err) == (2, True)
    aifarm("stop", task_id)
    assert aifarm("data", "delete", url.removeprefix("aifarm:")[:10]).code == 0
    assert aifarm("submit", "fed").code == 4
    assert aifarm("put", str(tmp_path / "nothing")).code == 2
