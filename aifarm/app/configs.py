"""A config is checked before anything is queued, by the rules that the trainer follows."""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from aifarm.app.errors import InvalidRequest
from aifarm.app.records import PackageRecord
from aifarm.train.settings import OF_ANY_LOOP, Unfit, check, complete
from aifarm.wire.types import JSON


class _Declares(Struct):
    """What of a manifest counts here."""

    defaults: dict[str, JSON] = {}


def check_config(config: Mapping[str, JSON], package: PackageRecord, own: frozenset[str]) -> None:
    """Raises InvalidRequest where the trainer would refuse `config` for this package.

    `own`: the names that stand in the request itself, all others stand under `config`.
    """
    try:
        if package.kind == "declarative":
            declares = msgspec.json.decode(package.manifest, type=_Declares)
            complete(dict(config), declares.defaults)
        else:
            check(dict(config), OF_ANY_LOOP)
    except Unfit as error:
        field = error.name if error.name in own else f"config.{error.name}"
        ended = str(error) if str(error).endswith("?") else f"{error}."
        raise InvalidRequest(ended, field=field, expected=error.expected) from None
