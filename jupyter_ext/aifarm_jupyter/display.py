"""What a notebook shows for a farm and for a task."""

from typing import Any

from IPython.core.getipython import get_ipython

from aifarm.sdk.plain import shown


def draws() -> bool:
    """Whether what is shown reaches somebody who draws widgets: not in a script, nor in IPython
    in a terminal."""
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def bundle(name: str, thing: Any) -> Any:
    """The view of this `name` in every form that it has; lines of text where nobody draws it."""
    text = {"text/plain": shown(name, thing)}
    if not draws():
        return text
    import aifarm_jupyter

    made = getattr(aifarm_jupyter, name)(thing)._repr_mimebundle_()
    data, metadata = made if isinstance(made, tuple) else (made, {})
    return {**(data or {}), **text}, metadata
