"""AI Farm in JupyterLab: a server extension, widgets, and a panel."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aifarm_jupyter.extension import AIFarm

__version__ = "0.1.0"


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    from aifarm_jupyter.extension import AIFarm

    return [{"module": "aifarm_jupyter", "app": AIFarm}]


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "aifarm"}]
