"""What the front end asks first, and what its diagnostics page shows."""

from importlib.metadata import version

import tornado
from jupyter_server._version import __version__ as jupyter_server_version
from jupyter_server.base.handlers import APIHandler
from tornado import web

from aifarm_jupyter.proxy import FarmHandler

PROTOCOL = 1
"""Between these handlers and the front end; it grows when one would not understand the other."""


class InfoHandler(FarmHandler, APIHandler):  # type: ignore[misc]
    @web.authenticated
    async def get(self) -> None:
        await self.authorize("read", "aifarm:info")
        farm = self.extension.farm
        self.finish(
            {
                "protocol": PROTOCOL,
                "state": farm.state,
                "problem": farm.problem,
                "url": farm.address.url if farm.address else None,
                "versions": {
                    "aifarm": version("aifarm"),
                    "jupyter_server": jupyter_server_version,
                    "tornado": tornado.version,
                },
            }
        )
