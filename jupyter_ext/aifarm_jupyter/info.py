"""What the front end asks first, and what its diagnostics page shows."""

from importlib.metadata import version

import tornado
from jupyter_server._version import __version__ as jupyter_server_version
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from tornado import web
from tornado.web import StaticFileHandler

from aifarm_jupyter.handler import FarmHandler

PROTOCOL = 1
"""Between these handlers and the front end; it grows when one would not understand the other."""


class Asset(FarmHandler, JupyterHandler, StaticFileHandler):  # type: ignore[misc]
    """A file of the front end, which is the farm's own dashboard's too."""

    @web.authenticated
    async def get(self, path: str) -> None:
        await StaticFileHandler.get(self, path, include_body=self.request.method != "HEAD")

    head = get

    def set_extra_headers(self, path: str) -> None:
        self.set_header("Cache-Control", "no-cache")


class InfoHandler(FarmHandler, APIHandler):  # type: ignore[misc]
    # A page that asks while there is no farm is nobody at work: the server may end as idle.
    _track_activity = False

    @web.authenticated
    async def get(self) -> None:
        await self.authorize("read", "aifarm:info")
        farm = self.extension.farm
        self.finish(
            {
                "protocol": PROTOCOL,
                "state": farm.state,
                "problem": farm.problem,
                "may_write": await self.allows("write", "aifarm:tasks"),
                "url": farm.address.url if farm.address else None,
                "logs": str(farm.logs) if farm.logs else None,
                "versions": {
                    "aifarm": version("aifarm"),
                    "jupyter_server": jupyter_server_version,
                    "tornado": tornado.version,
                },
            }
        )
