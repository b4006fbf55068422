"""Bytes to messages and back, with one sentence for bytes that are neither.

Client messages may carry their fields flat, as in the contract's examples, or under `data`, as
in its general form. Unknown fields are ignored on the socket (rolling upgrades); REST bodies
refuse them, since their Structs forbid it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from aifarm.wire.agent import FromClient, FromServer
from aifarm.wire.headers import HEADERS
from aifarm.wire.rules import RULES

S = TypeVar("S", bound=Struct)

MAX_DEPTH = 32
"""Nesting accepted in one body or message; deeper ones only serve attacks."""

encode = msgspec.json.Encoder().encode


class WireError(ValueError):
    """`message` is one sentence; `field` the path of what is wrong, or ""; `expected` as well."""

    def __init__(self, message: str, field: str = "", expected: str = "") -> None:
        # What was sent may be quoted in it: one line of it, and not all of a megabyte.
        self.message = " ".join(message.split())[:500]
        super().__init__(self.message)
        self.field = field
        self.expected = expected


class _General(Struct):
    """The part of a message that tells whether its fields stand flat or under `data`."""

    type: str
    client_id: Raw | UnsetType = UNSET
    timestamp: Raw | UnsetType = UNSET
    data: Raw | UnsetType = UNSET


_general: msgspec.json.Decoder[_General] = msgspec.json.Decoder(_General)
_from_client: msgspec.json.Decoder[FromClient] = msgspec.json.Decoder(FromClient)
_from_server: msgspec.json.Decoder[FromServer] = msgspec.json.Decoder(FromServer)


def decode_client(frame: bytes | str) -> FromClient:
    """A client's message. Raises WireError."""
    try:
        general = _general.decode(frame)
        if isinstance(general.data, Raw):
            fields: dict[str, Any] = msgspec.json.decode(frame)
            nested = fields.pop("data")
            if not isinstance(nested, dict):
                raise WireError("Expected `object`, got something else - at `$.data`", "data")
            message: FromClient = msgspec.convert({**nested, **fields}, FromClient)
            return message
        return _from_client.decode(frame)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise explain(error) from None


def decode_server(frame: bytes | str) -> FromServer:
    """A server's message. Raises WireError."""
    try:
        return _from_server.decode(frame)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise explain(error) from None


def decode_body(body: bytes, shape: type[S]) -> S:
    """A REST body as `shape`, its RULES kept. Raises WireError, also where it nests deeper than
    MAX_DEPTH."""
    if depth(body) > MAX_DEPTH:
        raise WireError(f"The body nests deeper than {MAX_DEPTH} levels.")
    try:
        decoded = _decoded(body, shape)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise explain(error) from None
    for rule in RULES.get(shape, ()):
        if not rule.holds(decoded):
            raise WireError(rule.message, rule.field, rule.expected)
    return decoded


def _decoded(body: bytes, shape: type[S]) -> S:
    """JSON has one kind of number: where an integer is wanted, 5.0 is one."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        refusal = error
    value = msgspec.json.decode(body)
    while _made_whole(value, refusal):
        try:
            return msgspec.convert(value, shape)
        except msgspec.ValidationError as error:
            refusal = error
    raise refusal


def _made_whole(value: Any, refusal: msgspec.ValidationError) -> bool:
    """Whether the float that was refused is a whole number, and is an int in `value` now."""
    found = _NOT_WHOLE.match(str(refusal))
    if found is None:
        return False
    *parents, name = found[1].split(".")
    for parent in parents:
        value = value[parent]
    whole = value[name].is_integer()
    if whole:
        value[name] = int(value[name])
    return bool(whole)


_NOT_WHOLE = re.compile(r"Expected `int.*`, got `float` - at `\$\.([\w.]+)`$")


def decode_query(values: Mapping[str, Sequence[str]], shape: type[S]) -> S:
    """A query's text values as `shape`: a list takes all of a parameter's values, anything else
    the last one. Raises WireError naming the parameter."""
    lists = _lists(shape)
    asked = {name: found if name in lists else found[-1] for name, found in values.items()}
    try:
        query = msgspec.convert(asked, shape, strict=False)
        for name, value in asked.items():
            found = getattr(query, name)
            # Text that is read as null, or as seconds since the epoch, is neither to us.
            if found is None or (isinstance(found, datetime) and value[4:5] != "-"):
                raise WireError(f"{value!r} is no value for {name}: leave it out.", name)
        return query
    except msgspec.ValidationError as error:
        known = ", ".join(field.name for field in msgspec.structs.fields(shape))
        wrong = explain(error)
        unknown = re.search(r"unknown field `(.*)`", wrong.message)
        if unknown is None:
            raise wrong from None
        words = f"it takes {known}" if known else "it takes none"
        raise WireError(f"Unknown parameter {unknown[1]!r}: {words}.", unknown[1]) from None


@cache
def _lists(shape: type[Struct]) -> frozenset[str]:
    """Names of the fields that are lists."""
    fields = msgspec.inspect.type_info(shape).fields  # type: ignore[attr-defined]
    return frozenset(
        field.name for field in fields if isinstance(field.type, msgspec.inspect.ListType)
    )


def check_headers(given: Mapping[str, str], names: Iterable[str]) -> None:
    """Whether the HEADERS of these names are what they may be. Raises WireError naming the one."""
    for name in names:
        text, header = given.get(name), HEADERS[name]
        if text is None and not header.required:
            continue
        try:
            msgspec.convert(text, header.shape)
        except msgspec.ValidationError as error:
            what = explain(error).message if text is not None else "it is missing"
            raise WireError(f"The header {name} is not valid: {what}.", name) from None


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKETS = re.compile(rb"[^\[\]{}]+")


def depth(body: bytes) -> int:
    """Deepest nesting of arrays and objects in JSON text, valid or not."""
    level = deepest = 0
    for char in _BRACKETS.sub(b"", _STRING.sub(b"", body)):
        level += 1 if char in b"[{" else -1
        deepest = max(deepest, level)
    return deepest


def explain(error: Exception) -> WireError:
    """msgspec's sentence, with the path it names split off: "… - at `$.task_id`"."""
    if isinstance(error, msgspec.ValidationError):
        text, _, path = str(error).partition(" - at `")
        missing = re.search(r"missing required field `(\w+)`", text)
        field = path.rstrip("`").removeprefix("$").removeprefix(".")
        if missing:
            field = f"{field}.{missing[1]}" if field else missing[1]
        return WireError(f"{text} - at `{field}`" if field else text, field)
    if isinstance(error, RecursionError):
        return WireError("The JSON nests too deeply.")
    return WireError(f"Not valid JSON: {error}")
