"""AI Farm in JupyterLab: a server extension, widgets, and a panel."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aifarm_jupyter.form import SubmitForm
    from aifarm_jupyter.runs import RunsTable
    from aifarm_jupyter.widgets import FarmView, TaskMonitor

__all__ = ["SubmitForm", "TaskMonitor", "RunsTable", "FarmView"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Widgets load with their first use: a Jupyter server has none of its own."""
    if name not in __all__:
        raise AttributeError(f"module 'aifarm_jupyter' has no attribute {name!r}")
    module = {"SubmitForm": "form", "RunsTable": "runs"}.get(name, "widgets")
    return getattr(import_module(f"aifarm_jupyter.{module}"), name)


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext aifarm_jupyter`: the magics."""
    from aifarm_jupyter.magics import FarmMagics

    shell.register_magics(FarmMagics)


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from aifarm_jupyter.extension import AIFarm

    return [{"module": "aifarm_jupyter", "app": AIFarm}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "aifarm"}]
