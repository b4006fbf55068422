"""One optimizer's step: its precision, its scaling and its clipping, all of them torch's."""

from __future__ import annotations

from typing import Any


class Stepper:
    """`scaler` is what fp16 needs so that small gradients do not vanish; disabled otherwise."""

    def __init__(self, model: Any, optimizer: Any, cfg: dict[str, Any], device: Any) -> None:
        import torch

        self._parameters = [*model.parameters()]
        self._optimizer = optimizer
        self._clip_norm = cfg["clip_norm"]
        self._device = device.type
        self._dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[
            cfg["precision"]
        ]
        self.scaler = torch.amp.GradScaler(device.type, enabled=cfg["precision"] == "fp16")

    def autocast(self) -> Any:
        """What the forward pass and the loss are to be computed in."""
        import torch

        return torch.autocast(self._device, self._dtype, enabled=self._dtype is not None)

    def backward(self, loss: Any) -> None:
        self.scaler.scale(loss).backward()

    def step(self) -> None:
        """Leaves the parameters as they are where fp16 overflowed; the scale is halved then."""
        import torch

        if self._clip_norm is not None:
            self.scaler.unscale_(self._optimizer)
            torch.nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        self.scaler.step(self._optimizer)
        self.scaler.update()
