"""A callback for the Hugging Face Trainer; importing it needs `transformers`.

    from aifarm.train.hf import FarmCallback, latest

    trainer = Trainer(..., callbacks=[FarmCallback()])
    trainer.train(resume_from_checkpoint=latest(training_args.output_dir))

The Trainer's checkpoints are its own: name its output folder among the task's `outputs`, so that
they are kept, and are there again when the next attempt begins.
"""

from __future__ import annotations

import os
from numbers import Real
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from aifarm.train.run import Run, current


class FarmCallback(TrainerCallback):  # type: ignore[misc]
    """Reports what the Trainer logs, and its progress; at the end of each step it is paused,
    stopped with a checkpoint, or has the Trainer save where the farm wants one."""

    def __init__(self, run: Run | None = None) -> None:
        self._run = run or current()

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._run.gang.join(args.device)
        self._run.attend()

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: dict[str, Any] | None = None,
        **others: Any,
    ) -> None:
        numbers = {
            name: float(value)
            for name, value in (logs or {}).items()
            if isinstance(value, Real) or _is_number(value)
        }
        self._run.report(step=state.global_step, progress=_percent(state), **numbers)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> Any:
        self._run.report(step=state.global_step, progress=_percent(state))
        if self._run.should_stop():
            control.should_save = True
            control.should_training_stop = True
        elif self._run.checkpoint_due():
            control.should_save = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._run.saved()


def latest(output_dir: str | os.PathLike[str]) -> str | None:
    """The newest whole checkpoint of the Trainer in `output_dir`, None where there is none.

    One that was cut in the middle lacks `trainer_state.json`, which is written last.
    """
    found = {
        int(path.parent.name.rpartition("-")[2]): str(path.parent)
        for path in Path(output_dir).glob("checkpoint-*/trainer_state.json")
        if path.parent.name.rpartition("-")[2].isdecimal()
    }
    return found[max(found)] if found else None


def _percent(state: Any) -> float:
    return 100.0 * state.global_step / state.max_steps if state.max_steps > 0 else 0.0


def _is_number(value: Any) -> bool:
    """The Trainer of some versions logs numbers as text."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
