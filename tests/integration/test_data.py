"""Data on a real farm: put once, known by its content, fetched once by each client."""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy
import pytest

from aifarm.sdk import Conflict, Farm, InvalidRequest, NotFound, connect
from aifarm.wire.agent import DataRef
from aifarm.wire.requests import PART_SIZE
from integration.running import RunningServer
from integration.scripted import ScriptedAgent


@pytest.fixture
def farm(shared_server: RunningServer) -> Any:
    with connect(shared_server.url, shared_server.token("researcher", "ada")) as farm:
        yield farm


@pytest.fixture
def other(shared_server: RunningServer) -> Any:
    with connect(shared_server.url, shared_server.token("researcher", "bob")) as farm:
        yield farm


def downloaded(server: RunningServer, sha256: str, **headers: str) -> bytes:
    answer = server.http().get(f"/api/v2/data/{sha256}", headers=headers)
    assert answer.is_success, answer.text
    return answer.content


def sent(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of what the farm is asked from now on."""
    paths: list[str] = []
    send = farm._http.send

    def noted(call: Any, **options: Any) -> Any:
        paths.append(f"{call.method} {call.path.rpartition('/')[2]}")
        return send(call, **options)

    monkeypatch.setattr(farm._http, "send", noted)
    return paths


def test_an_array_is_put_once_and_comes_back(
    shared_server: RunningServer, farm: Farm, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = numpy.arange(12.0).reshape(3, 4)
    data = farm.put(array, "numbers")
    assert (data.kind, data.name, data.putter) == ("array", "numbers", "ada")
    loaded = numpy.load(io.BytesIO(downloaded(shared_server, data.sha256)), allow_pickle=False)
    assert (loaded == array).all()
    paths = sent(farm, monkeypatch)
    assert farm.put(array.copy()) == data
    assert paths == ["POST data"]


def test_a_tensor_is_the_same_as_its_array(farm: Farm) -> None:
    import torch

    tensor = torch.arange(12.0, requires_grad=True)
    assert farm.put(tensor).sha256 == farm.put(tensor.detach().numpy()).sha256
    with pytest.raises(InvalidRequest, match="cannot become an array"):
        farm.put(tensor.to(torch.bfloat16))
    with pytest.raises(InvalidRequest, match="Object arrays"):
        farm.put(numpy.array([object()]))


def test_a_folder_is_the_same_whenever_its_files_are(
    shared_server: RunningServer, farm: Farm, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "b.txt").write_text("b")
        (tmp_path / name / "a.txt").write_text("a" * 600)
    first, second = farm.put(tmp_path / "one", "corpus"), farm.put(str(tmp_path / "two"))
    assert (first.kind, first.sha256) == ("folder", second.sha256)
    archive = tarfile.open(fileobj=io.BytesIO(downloaded(shared_server, first.sha256)))  # noqa: SIM115
    assert archive.getnames() == ["a.txt", "deep/b.txt"]
    (tmp_path / "one" / "out").symlink_to(tmp_path / "two" / "a.txt")
    with pytest.raises(InvalidRequest, match="leaves the folder"):
        farm.put(tmp_path / "one")


def test_what_is_no_data_is_refused_in_one_sentence(farm: Farm, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="There is no file"):
        farm.put(tmp_path / "nothing")
    with pytest.raises(InvalidRequest, match="A dict cannot be put"):
        farm.put({})
    with pytest.raises(InvalidRequest, match="has no files"):
        farm.put(tmp_path)


def test_what_broke_off_goes_on(
    shared_server: RunningServer, farm: Farm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"first" * (PART_SIZE // 5 + 1) + b"second"
    (tmp_path / "large.bin").write_bytes(content)

    def cut(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        farm.put(tmp_path / "large.bin", progress=cut)
    assert not [data for data in farm.data() if data.name == "large.bin"]
    paths = sent(farm, monkeypatch)
    told: list[tuple[int, int]] = []
    data = farm.put(tmp_path / "large.bin", progress=lambda *now: told.append(now))
    assert paths == ["POST data", "PUT 1", "POST commit"]
    assert told == [(PART_SIZE, len(content)), (len(content), len(content))]
    assert (
        downloaded(shared_server, data.sha256, Range=f"bytes={PART_SIZE}-") == content[PART_SIZE:]
    )


def test_two_people_put_the_same_and_none_sees_the_others_parts(
    shared_server: RunningServer, farm: Farm, other: Farm
) -> None:
    content = b"shared"
    sha256 = hashlib.sha256(content).hexdigest()
    body = {"sha256": sha256, "size": len(content), "name": "shared"}
    ada = shared_server.http(shared_server.token("researcher", "ada"))
    bob = shared_server.http(shared_server.token("researcher", "bob"))
    assert ada.post("/api/v2/data", json=body).status_code == 201
    assert bob.put(f"/api/v2/data/{sha256}/parts/0", content=content).status_code == 404
    assert bob.post("/api/v2/data", json=body).status_code == 201
    assert bob.put(f"/api/v2/data/{sha256}/parts/0", content=b"forged").status_code == 204
    assert ada.post("/api/v2/data", json=body).json()["parts"] == []
    assert ada.post(f"/api/v2/data/{sha256}/commit").status_code == 409
    ada.put(f"/api/v2/data/{sha256}/parts/0", content=content)
    assert ada.post(f"/api/v2/data/{sha256}/commit").json()["putter"] == "ada"
    assert bob.post(f"/api/v2/data/{sha256}/commit").json()["putter"] == "ada"
    assert downloaded(shared_server, sha256) == content
    with pytest.raises(Exception, match="only they may delete it"):
        other.delete_data(sha256)
    farm.delete_data(sha256)
    with pytest.raises(NotFound):
        farm.delete_data(sha256)


def test_bytes_with_another_hash_are_thrown_away(shared_server: RunningServer) -> None:
    http = shared_server.http(shared_server.token("researcher", "ada"))
    sha256 = hashlib.sha256(b"right").hexdigest()
    body = {"sha256": sha256, "size": 5, "name": "it"}
    http.post("/api/v2/data", json=body)
    http.put(f"/api/v2/data/{sha256}/parts/0", content=b"wrong")
    refused = http.post(f"/api/v2/data/{sha256}/commit")
    assert refused.status_code == 409
    assert sha256 in refused.json()["error"]["message"]
    again = http.post("/api/v2/data", json=body)
    assert (again.status_code, again.json()["parts"]) == (201, [])


def test_an_empty_file_is_data_too(
    shared_server: RunningServer, farm: Farm, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    assert downloaded(shared_server, farm.put(tmp_path / "empty").sha256) == b""


def test_a_task_names_data_that_there_is(
    shared_server: RunningServer, farm: Farm, other: Farm
) -> None:
    shared_server.publish("names-data")
    data = farm.put(numpy.arange(3.0))
    unknown = "0" * 64
    with pytest.raises(NotFound, match="put it there first") as missing:
        farm.submit("names-data", data={"train": f"aifarm:{unknown}"})
    assert missing.value.details["field"] == "data.train.url"
    with pytest.raises(InvalidRequest):
        farm.submit("names-data", data={"train": "/no/url"})
    secret = "https://me:secret@host/x.npy"
    task = farm.submit(
        "names-data",
        data={"train": data, "more": f"{secret}#sha256={unknown}", "raw": DataRef("s3://b/x")},
    )
    assert task.info.data["train"] == DataRef(data.url, data.sha256, False, data.size)
    assert task.info.data["more"] == DataRef(secret, unknown)
    seen = other.task(task.id).info.data["more"]
    assert seen.url == "https://***@host/x.npy"
    with pytest.raises(Conflict, match="is not over"):
        farm.delete_data(data)
    task.stop()
    farm.delete_data(data)
    with pytest.raises(NotFound, match="put it there first"):
        task.retry()


def test_a_package_names_data_for_its_tasks(farm: Farm, other: Farm) -> None:
    one, two = farm.put(numpy.zeros(3)), farm.put(numpy.ones(3))
    source = "def build_model(cfg): ...\ndef build_data(cfg): ...\n"
    package = farm.publish(source, "with-data", data={"train": one, "test": two})
    task = other.submit(package=package, data={"test": one})
    task.stop()
    assert {name: ref.sha256 for name, ref in task.info.data.items()} == {
        "train": one.sha256,
        "test": one.sha256,
    }


def test_row_12_an_agent_fetches_the_data_that_its_tasks_name(
    shared_server: RunningServer, farm: Farm
) -> None:
    mine, foreign = farm.put(numpy.arange(5.0)), farm.put(numpy.arange(6.0))
    shared_server.publish("for-agents")
    with ScriptedAgent(shared_server, "data-agent") as agent:
        task = farm.submit("for-agents", data={"train": mine})
        assert agent.take().data["train"].sha256 == mine.sha256
        http = shared_server.http(shared_server.token("agent"), **{"Client-ID": "data-agent"})
        assert http.get(f"/api/v2/data/{mine.sha256}").status_code == 200
        assert http.get(f"/api/v2/data/{foreign.sha256}").status_code == 403
        assert http.get("/api/v2/data").status_code == 403
        task.stop()


def test_who_finds_no_room_for_its_data_goes_back_to_the_queue_and_nobody_is_to_blame(
    server: RunningServer,
) -> None:
    server.publish()
    http = server.http()
    task_id = http.post("/api/v2/tasks", json={"name": "model", "version": "1.0"}).json()["id"]
    with ScriptedAgent(server) as agent:
        for attempt in range(1, 5):
            assert agent.take().attempt == attempt
            agent.end("failed", cause="no_room", message="Other tasks used the cache.")
        assert agent.take().attempt == 5
        assert http.get("/api/v2/clients/ws1").json()["drained"] is None
        events = http.get(f"/api/v2/tasks/{task_id}/events").json()["events"]
        told = [event["message"] for event in events if event["kind"] == "returned"]
        words = "ws1: Other tasks used the cache. The task waits for a free client."
        assert told == [words] * 4
