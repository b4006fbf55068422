"""Finding the one that somebody means by the beginning of its id."""

from collections.abc import Mapping

from aifarm.sdk.errors import InvalidRequest, NotFound

SHOWN = 5


def chosen(ids: Mapping[str, str], prefix: str, what: str) -> str:
    """The one of `ids` that is, or alone begins with, `prefix`; the values say what each one is.

    Raises NotFound where there is none, InvalidRequest, naming them, where there are several.
    """
    matches = [prefix] if prefix in ids else [one for one in ids if one.startswith(prefix)]
    if not matches:
        raise NotFound(f"There is no {what} {prefix}.")
    if len(matches) > 1:
        some = ", ".join(f"{one} ({ids[one]})" for one in matches[:SHOWN])
        more = ", …" if len(matches) > SHOWN else ""
        raise InvalidRequest(f"Several {what}s begin with {prefix}: {some}{more}. Give more of it.")
    return matches[0]
