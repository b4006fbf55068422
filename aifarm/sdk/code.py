"""Model code on its way into a package."""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from aifarm.packages import Kind, Origin, PackageInvalid, pack, pack_source
from aifarm.sdk.errors import InvalidRequest
from aifarm.sdk.origin import origin_of
from aifarm.wire.agent import DataRef
from aifarm.wire.types import JSON


class Code(Struct, frozen=True, kw_only=True):
    """A `folder`, or the text of its one file (`source`), to become the package `name`."""

    folder: Path
    source: str | None
    name: str
    entry: str
    kind: Kind
    defaults: Mapping[str, JSON] | None
    data: Mapping[str, DataRef]

    @classmethod
    def of(
        cls,
        given: str | os.PathLike[str],
        name: str | None,
        *,
        entry: str,
        kind: Kind,
        defaults: Mapping[str, JSON] | None,
        data: Mapping[str, DataRef],
    ) -> "Code":
        """From a folder, a .py file, or its text. Raises InvalidRequest."""
        folder, source, found = _found(given)
        if not (name or found):
            raise InvalidRequest("Say the package's name: publish(source, name=...).")
        return cls(
            folder=folder,
            source=source,
            name=name or found or "",
            entry=entry,
            kind=kind,
            defaults=defaults,
            data=data,
        )

    def origin(self) -> Origin | None:
        """Where a folder's files come from. Blocks."""
        return origin_of(self.folder) if self.source is None else None

    def packed(self, version: str, origin: Origin | None = None) -> bytes:
        """The archive, which says that its files come from `origin`. Raises InvalidRequest where
        this is no package."""
        try:
            if self.source is None:
                return pack(
                    self.folder,
                    self.name,
                    version,
                    entry=self.entry,
                    kind=self.kind,
                    defaults=self.defaults,
                    origin=origin,
                    data=self.data,
                )
            return pack_source(
                self.source,
                self.name,
                version,
                entry=self.entry,
                kind=self.kind,
                defaults=self.defaults,
                data=self.data,
            )
        except PackageInvalid as error:
            raise InvalidRequest(str(error)) from None


def _found(given: str | os.PathLike[str]) -> tuple[Path, str | None, str | None]:
    """The folder, or the text of the one file, and what its name suggests."""
    if isinstance(given, str) and "\n" in given:
        return Path(), given, None
    path = Path(given)
    if path.is_dir():
        return path, None, path.resolve().name
    if path.suffix == ".py" and path.is_file():
        return path.parent, path.read_text(encoding="utf-8"), path.stem
    raise InvalidRequest(
        f"{str(given)!r:.200} is no package: give a folder, a .py file, or its text."
    )
