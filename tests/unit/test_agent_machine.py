"""The work dir, what this machine has, and small pure parts."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from aifarm.wire.agent import AssignedTask, Endpoint, FarmAssignment, PackageRef
from aifarm.wire.types import Requirements
from aifarm_agent import gang, resources, workdir
from aifarm_agent.backoff import delays
from aifarm_agent.checkpoints import MAX_AGE, Checkpoints, intact
from aifarm_agent.events import Checkpoint, RankKey
from aifarm_agent.gpus import Gpus, chosen
from aifarm_agent.processes import Process, kill_session, look
from aifarm_agent.resources import Machine, memory_limit
from aifarm_agent.workdir import Unusable, WorkDir, check_local, socket_folder

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:35 / /home rw,relatime shared:2 - nfs4 server:/home rw
41 40 0:36 / /home/ada/my\\040disk rw,relatime - xfs /dev/sdb rw
42 22 0:37 / /mnt/share rw - fuse.sshfs ada@host:/ rw
"""


# ---------------------------------------------------------------- the work dir


@pytest.mark.parametrize(
    ("path", "kind"), [("/home/ada/work", "nfs4"), ("/mnt/share/x", "fuse.sshfs")]
)
def test_a_network_file_system_is_refused_in_one_sentence(path, kind):
    with pytest.raises(Unusable, match=rf"{path} is on a network file system \({kind}\)"):
        check_local(Path(path), MOUNTS)


@pytest.mark.parametrize("path", ["/var/lib/aifarm", "/home/ada/my disk/work", "/homes"])
def test_a_local_disk_is_taken(path):
    check_local(Path(path), MOUNTS)


def test_two_agents_on_one_work_dir_are_told_apart(tmp_path):
    first = WorkDir(tmp_path / "w")
    with pytest.raises(Unusable, match="Another agent runs in"):
        WorkDir(tmp_path / "w")
    first.close()
    WorkDir(tmp_path / "w").close()


def test_the_client_id_stays_the_same(tmp_path):
    first = WorkDir(tmp_path / "w")
    first.close()
    again = WorkDir(tmp_path / "w")
    again.close()
    other = WorkDir(tmp_path / "other")
    other.close()
    assert again.client_id == first.client_id != other.client_id
    assert not other.sockets.exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unusable, match="cannot be used"):
        WorkDir(tmp_path / "file" / "w")


def test_sockets_have_a_private_folder_with_a_short_path(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = socket_folder(tmp_path / "w")
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert socket_folder(tmp_path / "w") == folder
    assert socket_folder(tmp_path / "other") != folder
    folder.chmod(0o755)
    with pytest.raises(Unusable, match="not this user's alone"):
        socket_folder(tmp_path / "w")


def test_a_socket_folder_that_is_a_link_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = socket_folder(tmp_path / "w")
    folder.rmdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(Unusable):
        socket_folder(tmp_path / "w")


def test_a_socket_folder_with_a_long_path_is_refused(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    with pytest.raises(Unusable, match="too long for sockets"):
        socket_folder(tmp_path / "w")


def test_the_machine_is_known_without_its_real_id():
    assert workdir.machine_id() == workdir.machine_id()
    real = Path("/etc/machine-id")
    if real.exists():
        assert real.read_text().strip() not in workdir.machine_id()


# ---------------------------------------------------------------- resources


def test_this_machine_is_described_within_its_bounds():
    seen = Machine(Gpus("none"))()
    assert seen.cpu.cores == len(os.sched_getaffinity(0))
    assert 0 <= seen.cpu.usage <= 100
    assert 0 < seen.ram.used <= seen.ram.total
    assert seen.gpu == ()


def test_the_lowest_limit_of_the_cgroups_counts(tmp_path):
    own = tmp_path / "cgroup"
    own.write_text("0::/user.slice/job\n")
    root = tmp_path / "fs"
    (root / "user.slice" / "job").mkdir(parents=True)
    assert memory_limit(root, own) is None
    (root / "user.slice" / "memory.max").write_text("1000\n")
    (root / "user.slice" / "job" / "memory.max").write_text("max\n")
    assert memory_limit(root, own) == 1000
    (root / "user.slice" / "job" / "memory.max").write_text("500\n")
    assert memory_limit(root, own) == 500


def test_a_cgroup_limit_caps_what_is_told(monkeypatch):
    monkeypatch.setattr(resources, "memory_limit", lambda: 64 * 2**20)
    seen = Machine(Gpus("none"))()
    assert seen.ram.total == 64
    assert seen.ram.used <= 64


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("all", True),
        ("1", True),
        ("0,1", True),
        ("0", False),
        ("11", False),
        ("GPU-ab", True),
        ("GPU-cd", False),
        ("", False),
        ("-1", False),
    ],
)
def test_a_choice_of_gpus(choice, names):
    assert chosen(1, "GPU-abcd", choice) is names


# ---------------------------------------------------------------- gangs


def assigned(world_size, cores=1):
    return AssignedTask(
        id="t",
        type="training",
        config={},
        requirements=Requirements(min_cpu_cores=cores),
        farm=FarmAssignment(
            attempt=2, rank=1, world_size=world_size, package=PackageRef("m", "1", "0" * 64, 1)
        ),
    )


def test_a_rank_finds_torchruns_contract_in_its_environment():
    env = gang.environment(
        RankKey("t", 2, 1), assigned(3, 4), ["GPU-a"], Endpoint("10.0.0.1", 29_500), "eth0"
    )
    assert env == {
        "CUDA_VISIBLE_DEVICES": "GPU-a",
        "OMP_NUM_THREADS": "4",
        "RANK": "1",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "3",
        "LOCAL_WORLD_SIZE": "1",
        "GROUP_RANK": "1",
        "GROUP_WORLD_SIZE": "3",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "29500",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": "1",
        "GLOO_SOCKET_IFNAME": "eth0",
        "NCCL_SOCKET_IFNAME": "eth0",
    }


def test_several_ranks_on_a_client_see_its_gpus_in_their_order_and_know_their_places():
    farm = msgspec.structs.replace(assigned(6).farm, rank=4, local_rank=1, local_world_size=3)
    task = msgspec.structs.replace(assigned(6), farm=farm)
    meeting = Endpoint("10.0.0.1", 29_500)
    env = gang.environment(RankKey("t", 2, 4), task, ["GPU-a", "GPU-b", "GPU-c"], meeting, None)
    wanted = {"RANK": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "3", "GROUP_RANK": "1"}
    assert env.items() >= wanted.items()
    assert (env["CUDA_VISIBLE_DEVICES"], env["GROUP_WORLD_SIZE"]) == ("GPU-a,GPU-b,GPU-c", "2")
    assert gang.meeting_place(task, "10.0.0.1") == "10.0.0.1"


def test_ranks_that_are_all_on_one_client_meet_on_loopback():
    farm = msgspec.structs.replace(assigned(2).farm, local_world_size=2)
    task = msgspec.structs.replace(assigned(2), farm=farm)
    assert gang.meeting_place(task, "10.0.0.1") == "127.0.0.1"


def test_a_single_worker_sees_its_gpus_only():
    assert gang.environment(RankKey("t", 2, 1), assigned(1), [], None, None) == {
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }


def test_a_tasks_own_variables_lie_beneath_the_farms():
    own = {"API_KEY": "s3cret", "CUDA_VISIBLE_DEVICES": "0,1,2", "MASTER_ADDR": "elsewhere"}
    task = assigned(2)
    task = msgspec.structs.replace(task, farm=msgspec.structs.replace(task.farm, env=own))
    meeting = Endpoint("10.0.0.1", 29_500)
    env = gang.environment(RankKey("t", 1, 0), task, ["GPU-a"], meeting, None)
    assert env["API_KEY"] == "s3cret"
    assert (env["CUDA_VISIBLE_DEVICES"], env["MASTER_ADDR"]) == ("GPU-a", "10.0.0.1")


def test_peers_on_loopback_meet_there_and_others_wherever_they_are_sent():
    assert gang.interface_of("127.0.0.1") == "lo"
    assert gang.bind_address("127.0.0.1") == "127.0.0.1"
    assert gang.bind_address("203.0.113.7") == "0.0.0.0"
    assert gang.bind_address("ws1.lab") == "0.0.0.0"


def test_ports_to_try():
    assert gang.ports(None) == [0]
    assert sorted(gang.ports(range(5, 8))) == [5, 6, 7]


# ---------------------------------------------------------------- checkpoints


def written(run, step, content=b"weights"):
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    path = run / "checkpoints" / f"step-{step}.pt"
    path.write_bytes(content)
    return Checkpoint(str(path), step, len(content), f"{step:064d}")


def test_a_kept_checkpoint_outlives_the_workers_own_cleaning_up(tmp_path):
    (tmp_path / "kept").mkdir()
    checkpoints = Checkpoints(tmp_path / "kept")
    checkpoint = written(tmp_path / "run", 1)
    kept = checkpoints.keep("t", tmp_path / "run", checkpoint)
    Path(checkpoint.path).unlink()
    assert Path(kept.path).read_bytes() == b"weights"
    assert checkpoints.keep("t", tmp_path / "run", checkpoint) == kept  # read once more
    assert checkpoints.find(checkpoint.sha256) == Path(kept.path)
    assert checkpoints.find("f" * 64) is None


def test_only_files_of_the_run_folder_are_kept(tmp_path):
    (tmp_path / "kept").mkdir()
    checkpoints = Checkpoints(tmp_path / "kept")
    elsewhere = written(tmp_path / "elsewhere", 1)
    assert checkpoints.keep("t", tmp_path / "run", elsewhere) is None
    inside = tmp_path / "run" / "checkpoints"
    inside.mkdir(parents=True)
    (inside / "link.pt").symlink_to(elsewhere.path)
    link = Checkpoint(str(inside / "link.pt"), 1, 7, "0" * 64)
    assert checkpoints.keep("t", tmp_path / "run", link) is None


def test_the_last_are_kept_and_what_is_needed(tmp_path):
    (tmp_path / "kept").mkdir()
    checkpoints = Checkpoints(tmp_path / "kept")
    kept = [
        checkpoints.keep("t", tmp_path / "run", written(tmp_path / "run", step)).path
        for step in (1, 5, 10, 100)
    ]
    checkpoints.prune("t", 2, needed={kept[0]})
    assert [Path(path).exists() for path in kept] == [True, False, True, True]
    checkpoints.prune("t", 1)
    assert [Path(path).exists() for path in kept] == [False, False, False, True]
    checkpoints.prune("unknown", 1)


def test_old_checkpoints_of_tasks_that_are_not_here_expire(tmp_path):
    (tmp_path / "kept").mkdir()
    checkpoints = Checkpoints(tmp_path / "kept")
    for task in ("old", "known", "young"):
        checkpoints.keep(task, tmp_path / "run", written(tmp_path / "run", 1))
        kept = checkpoints.path(task, 1, f"{1:064d}")
        kept.unlink()
        kept.write_bytes(b"weights")
        os.utime(kept, (1000, 1000 if task != "young" else 1000 + MAX_AGE))
    checkpoints.expire({"known"}, now=1001 + MAX_AGE)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["known", "young"]


def test_a_damaged_file_is_noticed(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"x")
    sha = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert intact(file, 1, sha)
    assert not intact(file, 2, sha)
    file.write_bytes(b"y")
    assert not intact(file, 1, sha)
    assert not intact(tmp_path / "missing", 1, sha)


# ---------------------------------------------------------------- processes


def test_a_session_is_ended_with_what_its_leader_left_behind():
    code = "import os; os.fork(); os.write(1, b'.'); os.read(0, 1)"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as leader:
        process = look(leader.pid)
        assert leader.stdout.read(2) == b".."  # of both
        assert process.alive
        leader.kill()
        leader.wait()
        assert not process.alive
        assert kill_session(process, signal.SIGKILL)
        assert leader.stdout.read() == b""  # the last of them has ended
        leader.stdin.close()


def test_a_pid_that_is_anothers_by_now_is_left_alone():
    mine = look(os.getpid())
    stranger = Process(mine.pid, mine.start_time + 1)
    assert not stranger.alive


def test_waits_grow_and_are_drawn_from_the_whole_of_their_interval():
    random.seed(1)
    for waits in ([next(source) for _ in range(20)] for source in [delays() for _ in range(50)]):
        assert all(0 <= wait <= 30 for wait in waits)
        assert waits[0] <= 0.2
