"""Where the ranks of a gang meet, and what each worker's environment says about it."""

import ipaddress
import random
from collections.abc import Sequence

import psutil  # type: ignore[import-untyped]

from aifarm.wire.agent import AssignedTask, Endpoint
from aifarm_agent.events import RankKey

LOOPBACK = "127.0.0.1"


def environment(
    key: RankKey,
    task: AssignedTask,
    gpus: Sequence[str],
    endpoint: Endpoint | None,
    interface: str | None,
) -> dict[str, str]:
    """The task's own variables, and over them torchrun's contract, for one worker per rank;
    `gpus` are UUIDs, of all its ranks here, so that each takes the one that its local rank says.

    `interface`: the network interface of the gang's traffic, since gloo would take the one that
    the host's name resolves to, often loopback.
    """
    env = {
        **(task.farm.env if task.farm else {}),
        "CUDA_VISIBLE_DEVICES": ",".join(gpus),
        "OMP_NUM_THREADS": str(max(task.requirements.min_cpu_cores, 1)),
    }
    if endpoint is None or not task.farm:
        return env
    env |= {
        "RANK": str(key.rank),
        "LOCAL_RANK": str(task.farm.local_rank),
        "WORLD_SIZE": str(task.farm.world_size),
        "LOCAL_WORLD_SIZE": str(task.farm.local_world_size),
        "GROUP_RANK": str(key.rank // task.farm.local_world_size),
        "GROUP_WORLD_SIZE": str(task.farm.world_size // task.farm.local_world_size),
        "MASTER_ADDR": endpoint.address,
        "MASTER_PORT": str(endpoint.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": str(key.attempt - 1),
    }
    if interface:
        env |= {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface}
    return env


def meeting_place(task: AssignedTask, address: str) -> str:
    """Where the task's ranks reach each other: at `address`, unless all of them are here."""
    farm = task.farm
    alone = farm and farm.local_world_size == farm.world_size
    return LOOPBACK if alone else address


def interface_of(address: str) -> str | None:
    """The name of the network interface that has this address, if one has."""
    for name, addresses in psutil.net_if_addrs().items():
        if any(known.address.partition("%")[0] == address for known in addresses):
            return str(name)
    return None


def bind_address(address: str) -> str:
    """Where to listen for peers that are told `address`: nowhere wider than need be."""
    try:
        if ipaddress.ip_address(address).is_loopback or interface_of(address):
            return address
    except ValueError:
        pass  # a name
    return "0.0.0.0"


def ports(choice: range | None) -> list[int]:
    """The ports to try in turn: 0 is any."""
    if choice is None:
        return [0]
    return random.sample(choice, len(choice))
