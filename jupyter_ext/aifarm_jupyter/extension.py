"""The server extension: configuration, the farm behind it, and its routes under `aifarm/`."""

import asyncio
import os
import ssl
import sys
from pathlib import Path
from typing import Any

import httpx
from jupyter_core.paths import jupyter_runtime_dir
from jupyter_server.extension.application import ExtensionApp
from traitlets import Bool, Int, Unicode

from aifarm.sdk import AIFarmError
from aifarm.sdk.config import (
    FARM_FILE_VARIABLE,
    announce_start,
    data_folder,
    find,
    named_elsewhere,
    read_token,
    withdraw_start,
    write_farm_file,
    write_private,
)
from aifarm.web.assets import FOLDER
from aifarm_jupyter.farms import Attached, Missing, Source
from aifarm_jupyter.info import Asset, InfoHandler
from aifarm_jupyter.proxy import LiveProxy, RestProxy

# In a checkout it is a link to the notebook that everybody finds there.
QUICKSTART = (Path(__file__).parent / "notebooks" / "quickstart.ipynb").resolve()


class AIFarm(ExtensionApp):
    """Brings a farm into Jupyter: one that `url` names, or one of this machine's own."""

    name = "aifarm"
    extension_url = "/aifarm"
    load_other_extensions = True

    url = Unicode(
        help="The farm to attach to, as https://HOST:PORT; its servers, where it has several, with"
        " spaces between. Without it AIFARM_URL or config.toml name one; where none does, a farm is"
        " started on this machine.",
    ).tag(config=True)
    token = Unicode(
        help="The token for it; better in a file that only you can read, see token_file.",
    ).tag(config=True)
    token_file = Unicode(help="The file that holds the token.").tag(config=True)
    allow_plaintext = Bool(
        help="Lets the token travel readable, to a farm at http:// on another machine.",
    ).tag(config=True)
    data_dir = Unicode(
        help="Where a farm on this machine keeps its data; shared by all your Jupyter servers.",
    ).tag(config=True)
    agents = Int(
        1, min=0, help="Agents that a farm on this machine has from the start: they train here."
    ).tag(config=True)

    farm: Source = Missing("The extension has not started.")
    farm_file: Path | None = None
    client: httpx.AsyncClient
    tls: ssl.SSLContext

    def initialize_settings(self) -> None:
        self.farm = self.choose()
        self.settings["aifarm"] = self

    def initialize_handlers(self) -> None:
        self.handlers += [
            (r"/aifarm/info", InfoHandler),
            (r"/aifarm/static/(.*)", Asset, {"path": str(FOLDER)}),
            (r"/aifarm/notebooks/(quickstart\.ipynb)", Asset, {"path": str(QUICKSTART.parent)}),
            (r"/aifarm/api/v2/live", LiveProxy),
            (r"/aifarm/((?:api/v2|models)/.+)", RestProxy),
        ]

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        """Begins once Jupyter's own loop runs."""
        # A farm on this machine is not reached through a proxy; one elsewhere may be.
        address = self.farm.address
        elsewhere = address is not None and not address.on_loopback
        # One trust store, as the SDK's: the system's, or what SSL_CERT_FILE names.
        self.tls = ssl.create_default_context()
        self.client = httpx.AsyncClient(timeout=60.0, verify=self.tls, trust_env=elsewhere)
        self._begin_telling()
        self.farm.start()

    async def stop_extension(self) -> None:
        await asyncio.to_thread(self.farm.stop)
        if hasattr(self, "client"):  # stopped without a start
            await self.client.aclose()
        if self.farm_file is not None:
            self.farm_file.unlink(missing_ok=True)
            self._token_file.unlink(missing_ok=True)

    def current_activity(self) -> dict[str, Any] | None:
        """Tasks of the farm that this server runs keep it from being shut down as idle."""
        return {"farm": "has tasks that are not over"} if self.farm.busy else None

    def _begin_telling(self) -> None:
        folder = Path(jupyter_runtime_dir())
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.farm_file = folder / f"aifarm-{os.getpid()}.json"
        self.farm_file.unlink(missing_ok=True)  # of another process of this number
        if self.farm.state == "starting":
            announce_start(self.farm_file)
        # Kernels inherit it; it names a file, and only that file holds the token's place.
        os.environ[FARM_FILE_VARIABLE] = str(self.farm_file)
        if self.url or self.allow_plaintext:  # what this server is told wins for its kernels too
            os.environ.pop("AIFARM_URL", None)
            os.environ.pop("AIFARM_TOKEN", None)
        self.tell_kernels()

    def tell_kernels(self) -> None:
        """Writes where the farm is, for the kernels of this server; from any thread."""
        address = self.farm.address
        if self.farm_file is None:
            return
        if address is None:
            if self.farm.state != "starting":
                withdraw_start(self.farm_file)
            return
        write_private(self._token_file, f"{address.token}\n".encode())
        servers = " ".join((address.url, *address.others))
        # This server was allowed to use the address, or it had none.
        write_farm_file(self.farm_file, servers, self._token_file, allow_plaintext=True)

    def renew_token(self, refused: str) -> bool:
        """Reads `token_file` again; whether it holds another one than what the farm refused."""
        address = self.farm.address
        if address is None or self.farm.state != "attached" or not self.token_file:
            return False
        try:
            token = read_token(Path(self.token_file).expanduser())
        except AIFarmError:
            return False
        if token == refused:
            return False
        address.token = token
        self.tell_kernels()
        return True

    @property
    def _token_file(self) -> Path:
        assert self.farm_file is not None  # noqa: S101  it is written after the start
        return self.farm_file.with_suffix(".token")

    def choose(self) -> Source:
        """The farm that the configuration, or else the environment, names; else one's own."""
        try:
            if self.url or named_elsewhere():
                token = self.token or None
                if self.token_file:
                    token = read_token(Path(self.token_file).expanduser())
                return Attached(find(self.url or None, token, allow_plaintext=self.allow_plaintext))
        except AIFarmError as error:
            return Missing(str(error))
        if "JUPYTERHUB_SERVICE_PREFIX" in os.environ:
            return Missing(
                "This server runs under JupyterHub, where farms are shared: set c.AIFarm.url and"
                " c.AIFarm.token_file, or AIFARM_URL and AIFARM_TOKEN."
            )
        if sys.platform != "linux":
            return Missing(
                "A farm trains on Linux: name one that runs elsewhere, with c.AIFarm.url and"
                " c.AIFarm.token_file, or AIFARM_URL and AIFARM_TOKEN."
            )
        from aifarm_jupyter.embedded import Embedded

        data_dir = Path(self.data_dir).expanduser() if self.data_dir else data_folder("lab")
        return Embedded(data_dir, self.agents, self.tell_kernels)
