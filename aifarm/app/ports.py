"""What the facade needs from outside. A simulation gives its own; the server gives real ones."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Generic, NamedTuple, Protocol, TypeVar

from aifarm.app.records import (
    AttemptRecord,
    CheckpointRecord,
    ClientRecord,
    ClientSample,
    DataRecord,
    EventRecord,
    LoginRecord,
    LogLines,
    MetricPart,
    OutputRecord,
    PaceRecord,
    PackageRecord,
    Part,
    Points,
    Series,
    SummaryRecord,
    TaskRecord,
    TokenRecord,
    UploadRecord,
)
from aifarm.app.search import Position, Search
from aifarm.core.client import Hold
from aifarm.core.task import RankKey
from aifarm.wire.types import Purpose

Clock = Callable[[], float]
"""Seconds since the epoch, or of a monotonic clock; which one, the parameter's name says."""

NewId = Callable[[], str]

ANY = Search()
"""Every task that is not in the trash, newest first."""

T = TypeVar("T")


class Page(NamedTuple, Generic[T]):
    """A part of a list; how long the whole is, where it was counted; where what follows begins,
    if anything does."""

    items: list[T]
    total: int | None = None
    following: Position | None = None


class Loaded(NamedTuple):
    """What a server finds when it starts: `tasks` that are not final, and what they hold."""

    tasks: list[TaskRecord]
    clients: list[ClientRecord]
    holds: list[Hold]
    tokens: list[TokenRecord]
    logins: list[LoginRecord]
    last_event: int


class Write(Protocol):
    """One transaction, on the writer's own connection. Nothing is visible before it commits."""

    def put_task(self, record: TaskRecord, before: TaskRecord | None) -> None:
        """Inserts, or updates where attempt and state are still those of `before`.

        A row that does not match makes the commit fail: somebody else wrote (FAULTS row 35).
        """

    def put_progress(self, record: TaskRecord) -> None:
        """Progress, metrics and updated_at alone: the frequent case."""

    def put_hold(self, key: RankKey, hold: Hold | None) -> None: ...
    def put_client(self, record: ClientRecord) -> None: ...
    def drop_client(self, client_id: str) -> None: ...
    def add_sample(self, client_id: str, sample: ClientSample) -> None: ...
    def put_attempt(self, record: AttemptRecord) -> None: ...
    def put_token(self, record: TokenRecord) -> None: ...
    def put_login(self, record: LoginRecord) -> None: ...
    def drop_login(self, digest: str) -> None: ...
    def put_upload(self, record: UploadRecord) -> None: ...
    def drop_upload(self, upload_id: str) -> None: ...
    def put_checkpoint(self, record: CheckpointRecord) -> None: ...
    def drop_checkpoint(self, checkpoint_id: str) -> None: ...
    def put_output(self, record: OutputRecord) -> None: ...
    def drop_output(self, task_id: str, path: str) -> None: ...
    def put_package(self, record: PackageRecord) -> None: ...
    def drop_package(self, name: str, version: str) -> None: ...
    def put_data(self, record: DataRecord) -> None: ...
    def drop_data(self, sha256: str, putter: str) -> None: ...

    def put_pace(self, record: PaceRecord) -> None: ...
    def drop_paces(self, before: float) -> None:
        """Those that were measured `before` this time."""

    def put_tags(self, task_id: str, tags: Sequence[str]) -> None:
        """What the task is found by from now on; a new task's tags come with it."""

    def purge_task(self, task_id: str) -> None:
        """Everything that is stored of the task, its checkpoints and outputs included."""

    def put_idempotency(self, key: str, body: str, task_id: str, at: float) -> None: ...
    def add_event(self, event: EventRecord) -> None: ...
    def add_points(self, key: RankKey, points: Points) -> None: ...
    def add_log(self, lines: LogLines) -> None: ...


class Store(Protocol):
    """Durable truth. `transaction` belongs to the one writer thread, and raises Deposed where it
    may not write any more; every other method reads committed data, may be called from any
    thread, and blocks."""

    @property
    def kind(self) -> str:
        """The database's name: "sqlite"."""

    def transaction(self) -> AbstractContextManager[Write]: ...
    def load(self) -> Loaded: ...

    def task(self, task_id: str, deleted: bool = False) -> TaskRecord | None: ...
    def tasks(
        self,
        search: Search = ANY,
        *,
        offset: int = 0,
        after: Position | None = None,
        limit: int = 100,
        counted: bool = True,
    ) -> Page[TaskRecord]: ...
    def trash(self, before: float | None = None) -> list[TaskRecord]: ...
    def begun_from(self, checkpoint_ids: Sequence[str]) -> dict[str, list[str]]: ...
    def counts(self) -> dict[str, int]: ...
    def attempts(self, task_id: str) -> list[AttemptRecord]: ...
    def attempt(self, task_id: str, attempt: int) -> AttemptRecord | None: ...
    def holds(self, task_id: str) -> list[Hold]: ...
    def performance(self, client_id: str) -> tuple[int, int, float]: ...
    def samples(self, client_id: str, since: float, until: float) -> list[ClientSample]: ...
    def events(
        self,
        *,
        after: int = 0,
        task_id: str | None = None,
        client_id: str | None = None,
        limit: int = 1000,
    ) -> list[EventRecord]: ...
    def log(
        self, task_id: str, *, attempt: int | None, rank: int, first: int = 0, limit: int = 1000
    ) -> LogLines: ...
    def log_length(self, key: RankKey) -> int: ...
    def series(
        self,
        task_id: str,
        *,
        names: Sequence[str] = (),
        points: int | None = 1000,
        first: int = 0,
        last: int | None = None,
    ) -> list[Series]:
        """Each metric's points of the steps `first` to `last`, thinned to about `points`."""

    def summaries(
        self, task_ids: Sequence[str], *, names: Sequence[str] = ()
    ) -> dict[str, list[SummaryRecord]]: ...
    def points(self, task_id: str, *, names: Sequence[str] = ()) -> Iterator[MetricPart]: ...
    def checkpoints(self, task_id: str) -> list[CheckpointRecord]: ...
    def checkpoint(self, checkpoint_id: str) -> CheckpointRecord | None: ...
    def outputs(self, task_id: str) -> list[OutputRecord]: ...
    def output(self, task_id: str, path: str) -> OutputRecord | None: ...
    def outputs_elsewhere(self, task_id: str) -> set[str]:
        """Where those bytes of a task's outputs lie that are other tasks' outputs, too."""

    def surplus(self, before: float) -> list[str]:
        """The ids of checkpoints made `before` this time that are no longer kept."""

    def artifact_keys(self) -> set[str]: ...
    def upload(self, upload_id: str) -> UploadRecord | None: ...
    def uploads(
        self, *, task_id: str | None = None, before: float | None = None
    ) -> list[UploadRecord]: ...
    def find_upload(
        self, task_id: str, attempt: int, sha256: str, purpose: Purpose
    ) -> UploadRecord | None: ...
    def package(self, name: str, version: str) -> PackageRecord | None: ...
    def packages(
        self,
        name: str | None = None,
        *,
        offset: int = 0,
        after: Position | None = None,
        limit: int = 1000,
        counted: bool = True,
    ) -> Page[PackageRecord]: ...
    def data(self, sha256: str, putter: str | None = None) -> DataRecord | None: ...
    def data_page(
        self,
        name: str | None = None,
        *,
        offset: int = 0,
        after: Position | None = None,
        limit: int = 100,
        counted: bool = True,
    ) -> Page[DataRecord]: ...
    def data_on_its_way(self, before: float) -> list[DataRecord]: ...
    def paces(self, package: str, gang: str) -> list[PaceRecord]:
        """Those of the package, and those of the gang, the latest first."""

    def tokens(self) -> list[TokenRecord]: ...
    def stored(self, submitter: str) -> int: ...
    def idempotent(self, key: str) -> tuple[str, str] | None: ...
    def close(self) -> None: ...


class Artifacts(Protocol):
    """Bytes of checkpoints and packages. Blocking; callers run it in a bounded executor.

    A key is unique and never reused; what is visible is decided by committed rows alone.
    """

    def put_part(self, key: str, number: int, data: bytes) -> Part: ...
    def read(self, key: str, parts: Sequence[Part], start: int, stop: int) -> Iterator[bytes]: ...
    def delete(self, key: str) -> None: ...
    def keys(self) -> Iterator[str]: ...
