"""The server extension: configuration, the farm behind it, and its routes under `aifarm/`."""

import asyncio
import os
from pathlib import Path
from typing import Any

import httpx
from jupyter_core.paths import jupyter_runtime_dir
from jupyter_server.extension.application import ExtensionApp
from traitlets import Int, Unicode

from aifarm.sdk import AIFarmError
from aifarm.sdk.config import (
    FARM_FILE_VARIABLE,
    data_folder,
    find,
    named_elsewhere,
    write_farm_file,
)
from aifarm.web.assets import FOLDER
from aifarm_jupyter.farms import Attached, Embedded, Missing, Source
from aifarm_jupyter.info import Asset, InfoHandler
from aifarm_jupyter.proxy import LiveProxy, RestProxy


class AIFarm(ExtensionApp):
    """Brings a farm into Jupyter: one that `url` names, or one of this machine's own."""

    name = "aifarm"
    extension_url = "/aifarm"
    load_other_extensions = True

    url = Unicode(
        help="The farm to attach to, as https://HOST:PORT. Without it AIFARM_URL or config.toml"
        " name one; where none does, a farm is started on this machine.",
    ).tag(config=True)
    token = Unicode(
        help="The token for it; better in a file that only you can read, see token_file.",
    ).tag(config=True)
    token_file = Unicode(help="The file that holds the token.").tag(config=True)
    data_dir = Unicode(
        help="Where a farm on this machine keeps its data; shared by all your Jupyter servers.",
    ).tag(config=True)
    agents = Int(
        1, min=0, help="Agents that a farm on this machine has from the start: they train here."
    ).tag(config=True)

    farm: Source = Missing("The extension has not started.")
    farm_file: Path | None = None
    client: httpx.AsyncClient

    def initialize_settings(self) -> None:
        self.farm = self._choose()
        self.settings["aifarm"] = self

    def initialize_handlers(self) -> None:
        self.handlers += [
            (r"/aifarm/info", InfoHandler),
            (r"/aifarm/static/(.*)", Asset, {"path": str(FOLDER)}),
            (r"/aifarm/api/v2/live", LiveProxy),
            (r"/aifarm/((?:api/v2|models)/.+)", RestProxy),
        ]

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        """Begins once Jupyter's own loop runs."""
        # A farm on this machine is not reached through a proxy; one elsewhere may be.
        address = self.farm.address
        elsewhere = address is not None and not address.on_loopback
        self.client = httpx.AsyncClient(timeout=60.0, trust_env=elsewhere)
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
        """What runs in the farm of this Jupyter server keeps it from being shut down as idle."""
        if self.farm.state != "leading":
            return None
        return {"farm": "leads the farm of this machine"}

    def _begin_telling(self) -> None:
        folder = Path(jupyter_runtime_dir())
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.farm_file = folder / f"aifarm-{os.getpid()}.json"
        # Kernels inherit it; it names a file, and only that file holds the token's place.
        os.environ[FARM_FILE_VARIABLE] = str(self.farm_file)
        self.tell_kernels()

    def tell_kernels(self) -> None:
        """Writes where the farm is, for the kernels of this server; from any thread."""
        address = self.farm.address
        if self.farm_file is None or address is None:
            return
        self._token_file.touch(mode=0o600)
        self._token_file.write_text(f"{address.token}\n")
        write_farm_file(self.farm_file, address.url, self._token_file)

    @property
    def _token_file(self) -> Path:
        assert self.farm_file is not None  # noqa: S101  it is written after the start
        return self.farm_file.with_suffix(".token")

    def _choose(self) -> Source:
        try:
            if self.url or named_elsewhere():
                token = self.token or None
                if self.token_file:
                    token = Path(self.token_file).expanduser().read_text().strip()
                return Attached(find(self.url or None, token))
        except (AIFarmError, OSError) as error:
            return Missing(str(error))
        if "JUPYTERHUB_SERVICE_PREFIX" in os.environ:
            return Missing(
                "This server runs under JupyterHub, where farms are shared: set c.AIFarm.url and"
                " c.AIFarm.token_file, or AIFARM_URL and AIFARM_TOKEN."
            )
        data_dir = Path(self.data_dir).expanduser() if self.data_dir else data_folder("lab")
        return Embedded(data_dir, self.agents, self.tell_kernels)
