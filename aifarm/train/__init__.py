"""What runs inside the training process. Importing it loads the standard library only.

import aifarm.train

run = aifarm.train.current()      # on the farm: this task; elsewhere: a working local run
run.report(loss=loss, accuracy=accuracy)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aifarm.train.run import Run, current

__all__ = ["Run", "current"]


def __getattr__(name: str) -> Any:
    """Loaded when asked for: the server, which checks configs by `settings`, needs no run."""
    if name in __all__:
        from aifarm.train import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
