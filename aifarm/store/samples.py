"""What clients used over time: a row for many samples, and fewer of them as they grow old.

A client's newest row is open: it is written again with each sample until it has BLOCK of them.
Whenever one is opened, the client's oldest rows are thinned, so that no clock has to be watched.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence

import msgspec
from sqlalchemy import Connection, Dialect, Select, Table, bindparam, delete, select
from sqlalchemy.sql.dml import Insert

from aifarm.app.records import ClientSample
from aifarm.app.samples import means
from aifarm.store.statements import Statement
from aifarm.store.tables import samples

BLOCK = 60
"""Samples in a row: half an hour of them."""

FULL, KEPT = 14 * 86400.0, 366 * 86400.0
"""Seconds for which all samples are kept, and then means of COARSE seconds."""

COARSE = 600.0
TOGETHER = 48
"""Old rows that become one: a day of them."""

Encoded = list[msgspec.Raw]

_decode = msgspec.msgpack.Decoder(list[ClientSample]).decode


def pack(encoded: Encoded) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(encoded), 1)


def unpack(data: bytes) -> list[ClientSample]:
    return _decode(zlib.decompress(data))


def encode(sample: ClientSample) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(sample))


class SamplesWriter:
    """Owned by the writer, who calls `forget` whenever a transaction fails."""

    def __init__(self, dialect: Dialect, upsert: Callable[[Table], Insert]) -> None:
        self._open: dict[str, tuple[float, Encoded]] = {}
        self._upsert = Statement(upsert(samples), samples.columns, dialect)
        own = samples.c.client_id == bindparam("client_id")
        key = (samples.c.client_id, samples.c.start)
        one = delete(samples).where(own, samples.c.start == bindparam("start"))
        self._delete = Statement(one, key, dialect)
        ancient = delete(samples).where(own, samples.c.start < bindparam("start"))
        self._delete_before = Statement(ancient, key, dialect)
        self._delete_all = Statement(delete(samples).where(own), key[:1], dialect)

    def write(self, connection: Connection, new: Mapping[str, Sequence[ClientSample]]) -> None:
        """Adds samples in the connection's transaction."""
        rows: dict[tuple[str, float], Encoded] = {}
        for client_id, some in new.items():
            for sample in some:
                start, encoded = self._room_for(connection, client_id, sample)
                encoded.append(encode(sample))
                rows[client_id, start] = encoded
        self._upsert.many(
            connection,
            [[client_id, start, 0, pack(found)] for (client_id, start), found in rows.items()],
        )

    def drop(self, connection: Connection, client_ids: Sequence[str]) -> None:
        """Clients that are forgotten leave nothing here."""
        for client_id in client_ids:
            self._open.pop(client_id, None)
        self._delete_all.many(connection, [[client_id] for client_id in client_ids])

    def forget(self) -> None:
        """What is in memory may not be what is in the database: read it again."""
        self._open.clear()

    def _room_for(
        self, connection: Connection, client_id: str, sample: ClientSample
    ) -> tuple[float, Encoded]:
        """The open row of a client: where it starts, and what it holds."""
        if client_id not in self._open:
            newest = _full(client_id).order_by(samples.c.start.desc()).limit(1)
            for start, data in connection.execute(newest):
                self._open[client_id] = (start, [encode(one) for one in unpack(data)])
        start, encoded = self._open.get(client_id, (0.0, []))
        if not encoded or len(encoded) >= BLOCK or sample.at - start >= COARSE * BLOCK:
            self._thin(connection, client_id, sample.at)
            start, encoded = self._open[client_id] = (sample.at, [])
        return start, encoded

    def _thin(self, connection: Connection, client_id: str, now: float) -> None:
        self._delete_before.many(connection, [[client_id, now - KEPT]])
        before = _full(client_id).where(samples.c.start < now - FULL)
        old = connection.execute(before.order_by(samples.c.start).limit(TOGETHER)).all()
        if len(old) < TOGETHER:
            return
        whole = [sample for _, data in old for sample in unpack(data)]
        coarse = [encode(sample) for sample in means(whole, COARSE)]
        self._delete.many(connection, [[client_id, start] for start, _ in old])
        self._upsert.many(connection, [[client_id, old[0][0], 1, pack(coarse)]])


def _full(client_id: str) -> Select[tuple[float, bytes]]:
    """Rows with all samples."""
    own = samples.c.client_id == client_id
    return select(samples.c.start, samples.c.data).where(own, samples.c.coarse == 0)


def read(connection: Connection, client_id: str, since: float, until: float) -> list[ClientSample]:
    """In order of time."""
    own = samples.c.client_id == client_id
    before = select(samples.c.start).where(own, samples.c.start <= since)
    first = connection.execute(before.order_by(samples.c.start.desc()).limit(1)).scalar()
    rows = (
        select(samples.c.data)
        .where(own, samples.c.start >= (since if first is None else first))
        .where(samples.c.start < until)
        .order_by(samples.c.start)
    )
    return [
        sample
        for (data,) in connection.execute(rows)
        for sample in unpack(data)
        if since <= sample.at < until
    ]
