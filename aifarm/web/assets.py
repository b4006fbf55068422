"""The dashboard's page and what it loads: files of this package, open to all, secret to none."""

from pathlib import Path
from typing import Any

from tornado.web import HTTPError, StaticFileHandler

from aifarm.app.errors import FarmError
from aifarm.web.handler import check_host
from aifarm.web.http import Host

FOLDER = Path(__file__).with_name("static")

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""Nothing comes from elsewhere, nothing is told elsewhere, no page holds this one."""


class Asset(StaticFileHandler):
    """One file of `static/`, revalidated each time: an upgrade of the server is one of the page."""

    host: Host

    def initialize(  # type: ignore[override]
        self, host: Host, default_filename: str | None = None
    ) -> None:
        self.host = host
        super().initialize(str(FOLDER), default_filename)

    def prepare(self) -> None:
        try:
            check_host(self.request.host, self.host)
        except FarmError as error:
            raise HTTPError(400, error.message) from None

    def set_default_headers(self) -> None:
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.clear_header("Server")

    def set_extra_headers(self, path: str) -> None:
        self.set_header("Cache-Control", "no-cache")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code} {self._reason}\n")
