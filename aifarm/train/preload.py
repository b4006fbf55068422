"""What the warm process does before its first fork, so that its workers need not."""

from __future__ import annotations

import os
import sys


def preload() -> str:
    """Loads what the first steps of a worker need. Returns why that failed, or ""."""
    # Threads would not survive the fork; the workers set their own number.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # asking for CUDA must not initialise it
    try:
        import torch
        import torch._dynamo  # the optimizers load it: a second, at a worker's first step
        import torch.distributed
        import torch.utils.data
        from torch.nn import functional

        from aifarm.train import provenance

        torch.set_num_threads(1)
        provenance.packages_sha256()
        model = torch.nn.Linear(4, 4)
        functional.cross_entropy(model(torch.zeros(2, 4)), torch.zeros(2, dtype=torch.long))
        # No backward pass: autograd's threads must not exist before the fork.
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        torch.optim.Adam(model.parameters()).step()
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        return f"{sys.executable} cannot train: {reason}"
    return ""
