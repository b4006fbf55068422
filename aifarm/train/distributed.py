"""The ranks of an attempt: rendezvous, agreement and the parallel model.

Agreement runs on a gloo group of its own, so that it never mixes with the gradients. With one
rank every method answers at once and torch.distributed is not touched.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import Any

REACH_SECONDS = 60.0

# What gloo says, as a plain RuntimeError, when another process of the gang is gone.
LOST_PEER = (
    "Connection closed by peer",
    "Connection reset by peer",
    "Connection refused",
    "Broken pipe",
    "gloo/transport",
)


class HostError(Exception):
    """The machine or its network failed, not the researcher's code: the task can go elsewhere."""


class Gang:
    """This process among `world_size` ranks; torchrun's environment says where rank 0 is."""

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        self.rank = rank
        self.world_size = world_size
        self._control: Any = None

    def join(self, device: Any) -> None:
        """Meets the others, once; in the process group that exists where a script has made one.

        Raises HostError when rank 0's host cannot be reached.
        """
        if self.world_size == 1 or self._control is not None:
            return
        import torch.distributed as dist

        self._device = device
        if not dist.is_initialized():
            self._check_route()
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        self._control = dist.new_group(backend="gloo")

    def maximum(self, values: list[int]) -> list[int]:
        """The largest of all ranks' values, element by element."""
        return self.maximum_later(values)()

    def maximum_later(self, values: list[int]) -> Callable[[], list[int]]:
        """The same, when what it returns is called: until then they are exchanged in the back."""
        if self.world_size == 1:
            return lambda: values
        import torch
        import torch.distributed as dist

        tensor = torch.tensor(values, dtype=torch.int64)
        work = dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self._control, async_op=True)

        def found() -> list[int]:
            work.wait()
            return tensor.tolist()

        return found

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in the order of ranks, on every rank."""
        if self.world_size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self._control)
        return values

    def share_buffers(self, model: Any) -> None:
        """Gives every rank the buffers (batch norm's averages) of rank 0."""
        if self.world_size == 1:
            return
        import torch.distributed as dist

        for buffer in model.buffers():
            dist.broadcast(buffer, 0)

    def parallel(self, model: Any, **options: Any) -> Any:
        """`model`, averaging its gradients over the ranks; itself when there is one rank."""
        if self.world_size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        devices = [self._device] if self._device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices, **options)

    def settle_buckets(self, parallel: Any) -> None:
        """Has a parallel model sum its gradients in one order from its first step to its last.

        DDP else puts its buckets, after the first backward pass of a process, in the order in
        which gradients were ready in it: from three ranks on, a resumed run would round
        differently. So here is a pass whose order is that of the parameters.
        """
        if self.world_size == 1 or parallel.find_unused_parameters:  # such are never reordered
            return
        import torch

        model = parallel.module
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        gradients = [parameter.grad for parameter in trained]
        parallel.module = _stand_in(trained)
        try:
            roots = parallel()
            torch.autograd.backward(roots, [torch.zeros_like(root) for root in roots])
        finally:
            parallel.module = model
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient

    def compress(self, parallel: Any) -> None:
        """Has the gradients of a parallel model travel as fp16: half the bytes, rounded."""
        if self.world_size == 1:
            return
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import fp16_compress_hook

        parallel.register_comm_hook(None, fp16_compress_hook)

    def _check_route(self) -> None:
        # torch itself would wait half an hour for a port that a firewall swallows.
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        try:
            socket.create_connection((address, port), timeout=REACH_SECONDS).close()
        except OSError as error:
            raise HostError(
                f"rank {self.rank} cannot reach rank 0 at {address}:{port}: {error}"
            ) from error


def _stand_in(parameters: list[Any]) -> Any:
    """A module that uses every parameter and none of its values."""
    from torch import nn

    class StandIn(nn.Module):
        def forward(self) -> list[Any]:
            return [parameter.flatten()[:0].sum() for parameter in parameters]

    return StandIn()


def serve_store(port: int, descriptor: int) -> int:
    """Serves a gang's rendezvous on the listening socket `descriptor` until it is killed."""
    import torch.distributed as dist

    store = dist.TCPStore(  # type: ignore[attr-defined]
        "localhost", port, is_master=True, wait_for_workers=False, master_listen_fd=descriptor
    )
    while store:
        signal.pause()
    return 0


def is_lost_peer(error: BaseException) -> bool:
    """Whether `error` says that another rank, or the way to it, is gone."""
    import torch.distributed as dist

    if isinstance(error, (dist.DistError, ConnectionError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in LOST_PEER)


def choose_device(local_rank: int) -> Any:
    """The GPU of this rank among those that the process may see, else the CPU."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank % torch.cuda.device_count())
