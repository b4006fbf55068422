"""What is typed wrongly ends in one sentence and exit code 2; and what NVML answers."""

import os
import sys
import types

import psutil
import pytest
from click.testing import CliRunner

from aifarm.wire.agent import Gpu, GpuProcess, Memory
from aifarm_agent import cli, status
from aifarm_agent.gpus import Gpus

GOOD = ["--server", "ws://host:8765"]


@pytest.fixture
def token(tmp_path):
    file = tmp_path / "token"
    file.write_text("secret\n")
    return ["--token-file", str(file), "--work-dir", str(tmp_path / "work")]


def typed(*words, **env):
    return CliRunner().invoke(cli.main, words, env={"AIFARM_TOKEN": None, **env})


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "Missing option '--server': as ws://HOST:8765."),
        (["--server", "http://host"], "'http://host' is not a URL like ws://HOST:8765."),
        ([*GOOD, "--label", "room"], "a label is written NAME=VALUE."),
        ([*GOOD, "--rank-ports", "9-1"], "ports are written LOW-HIGH"),
        ([*GOOD, "--cache", "50 GB"], "a size is written 50G"),
        ([*GOOD, "--client-id", "a b"], "a client id has 1 to 128 letters"),
    ],
)
def test_a_wrong_option_is_named(token, words, sentence):
    result = typed(*token, *words)
    assert result.exit_code == 2
    assert sentence in result.output


def test_a_token_must_come_from_somewhere(tmp_path):
    work = ["--work-dir", str(tmp_path / "work")]
    result = typed(*GOOD, *work)
    assert result.exit_code == 2
    assert "Missing option '--token-file', or AIFARM_TOKEN in the environment." in result.output
    result = typed(*GOOD, *work, "--token-file", str(tmp_path / "none"))
    assert result.exit_code == 2
    assert f"The token file {tmp_path / 'none'} cannot be read" in result.output
    (tmp_path / "empty").write_text("\n")
    result = typed(*GOOD, *work, "--token-file", str(tmp_path / "empty"))
    assert result.exit_code == 2
    assert "holds no token" in result.output


def test_status_without_an_agent(tmp_path):
    result = typed("status", "--work-dir", str(tmp_path))
    assert result.exit_code == 1
    assert result.output == f"No agent runs in {tmp_path}.\n"
    left = tmp_path / "kept" / "t1.1.0"
    left.mkdir(parents=True)
    (left / "model.pt").write_bytes(bytes(3 << 20))
    result = typed("status", "--work-dir", str(tmp_path))
    assert f"Files of 1 ended attempts, 3.0 MiB: {tmp_path / 'kept'}\n" in result.output
    result = typed("status", "--work-dir", str(tmp_path), "--json")
    assert result.output == "null\n"


def test_status_says_what_the_cache_of_data_holds(tmp_path):
    told = status.Status(os.getpid(), "ws1", None, (), 3 << 29, 50 << 30)
    status.write(tmp_path, told)
    result = typed("status", "--work-dir", str(tmp_path))
    assert "data: 1.5 GiB of 50.0 GiB" in result.output


# ---------------------------------------------------------------- NVML


class Nvml(types.ModuleType):
    """Stands for NVML, which no test machine need have: two GPUs, of which one answers little."""

    NVML_TEMPERATURE_GPU = 0

    def __init__(self):
        super().__init__("pynvml")
        self.broken = False

    def nvmlInit(self):  # noqa: N802
        if self.broken:
            raise RuntimeError("Driver Not Loaded")

    def nvmlDeviceGetCount(self):  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return index

    def nvmlDeviceGetUUID(self, handle):  # noqa: N802
        return f"GPU-{handle}abc"

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return "NVIDIA RTX 3080"

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return types.SimpleNamespace(total=10240 << 20, used=3072 << 20)

    def nvmlDeviceGetUtilizationRates(self, handle):  # noqa: N802
        if handle == 1:
            raise RuntimeError("Not Supported")
        return types.SimpleNamespace(gpu=80)

    def nvmlDeviceGetTemperature(self, handle, sensor):  # noqa: N802
        if handle == 1:
            raise RuntimeError("Not Supported")
        return 61

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        if handle == 1:
            raise RuntimeError("Not Supported")
        return [
            types.SimpleNamespace(pid=os.getpid(), usedGpuMemory=3000 << 20),
            types.SimpleNamespace(pid=2**22 + 1, usedGpuMemory=None),
        ]


@pytest.fixture
def nvml(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvml = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return nvml


def test_gpus_are_described_as_far_as_they_say(nvml):
    own = psutil.Process()
    processes = (
        GpuProcess(os.getpid(), own.username(), own.name(), 3000),
        GpuProcess(2**22 + 1),
    )
    assert Gpus().describe() == (
        Gpu(0, "NVIDIA RTX 3080", Memory(10240, 3072), "GPU-0abc", 80.0, 61.0, processes),
        Gpu(1, "NVIDIA RTX 3080", Memory(10240, 3072), "GPU-1abc", None, None, None),
    )


def test_chosen_gpus_are_numbered_from_nought(nvml, monkeypatch):
    assert Gpus("1").uuids == ["GPU-1abc"]
    assert [gpu.id for gpu in Gpus("1").describe()] == [0]
    assert Gpus("none").uuids == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-0")
    assert Gpus().uuids == ["GPU-0abc"]
    assert Gpus("1").uuids == []


def test_a_missing_driver_is_quiet_unless_gpus_were_asked_for(nvml, caplog):
    nvml.broken = True
    assert Gpus().describe() == ()
    assert caplog.records == []
    assert Gpus("0").describe() == ()
    assert "Driver Not Loaded" in caplog.text
