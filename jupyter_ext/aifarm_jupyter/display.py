"""What a notebook shows for a farm and for a task."""

from typing import Any

from IPython.core.getipython import get_ipython


def bundle(name: str, thing: Any) -> Any:
    """The view of this `name` in every form that it has; None where nobody draws widgets."""
    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):  # a script, or IPython in a terminal
        return None
    import aifarm_jupyter

    return getattr(aifarm_jupyter, name)(thing)._repr_mimebundle_()
