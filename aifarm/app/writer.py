"""The single writer: one queue, group commit, no acknowledgement before the commit.

Whatever waits in the queue when the last commit is done becomes the next batch. Its operations
are applied one after the other, clients get their work, and all is written in one transaction.
If that fails, the batch never was, and every caller is told to try again.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from aifarm.app.draft import Changes, Draft
from aifarm.app.errors import Deposed, FarmError, Unavailable
from aifarm.app.observer import Observer
from aifarm.app.ports import Clock, Store

log = logging.getLogger(__name__)

Operation = Callable[[Draft], Any]
Done = Callable[[Any], None]
"""Called with an operation's value, or with the FarmError that ended it."""

MAX_BATCH = 512
"""Operations in one transaction: bounds how long the first of them waits for the last."""


SIBLINGS, COMMIT_DELAY = 4, 0.003
"""After a batch of at least so many operations the writer waits so many seconds for the next one
to gather: a commit costs the same for one operation as for fifty. (PostgreSQL knows both as
commit_siblings and commit_delay.)"""


class Executor(Protocol):
    """Runs the writer's work, one piece at a time, in order."""

    def start(self, work: Callable[[], None]) -> None: ...
    def wake(self) -> None: ...
    def linger(self, seconds: float) -> None: ...
    def stop(self) -> None: ...


class Writer:
    """`deliver(changes, answer)` runs through `post`, in the order of commits; its `answer()`
    gives every operation's value to its caller.

    `post` hands a call to where the rest of the server runs: the event loop's thread, or inline.
    `deposed` says why nothing is written any more: whoever owns the writer must make a new one.
    """

    deposed: Deposed | None = None

    def __init__(
        self,
        store: Store,
        draft: Draft,
        clock: Clock,
        executor: Executor,
        post: Callable[[Callable[[], None]], None],
        deliver: Callable[[Changes, Callable[[], None]], None],
        observer: Observer,
    ) -> None:
        self._store = store
        self._draft = draft
        self._clock = clock
        self._executor = executor
        self._post = post
        self._deliver = deliver
        self._observer = observer
        self._queue: deque[tuple[Operation, Done]] = deque()
        self._stopped = False

    def start(self) -> None:
        self._executor.start(self.run)

    def stop(self) -> None:
        """Ends after what is queued has been written; what comes later is refused."""
        self._executor.stop()
        self._stopped = True
        self._refuse()

    @property
    def queued(self) -> int:
        return len(self._queue)

    def submit(self, operation: Operation, done: Done) -> None:
        """Queues an operation. It must touch nothing but the draft it is given."""
        self._queue.append((operation, done))
        if self._stopped:
            self._refuse()
        else:
            self._executor.wake()

    def run(self) -> None:
        """Writes batches until the queue is empty."""
        while self._queue:
            size = min(len(self._queue), MAX_BATCH)
            self._write([self._queue.popleft() for _ in range(size)])
            if size >= SIBLINGS:
                self._executor.linger(COMMIT_DELAY)

    def _refuse(self) -> None:
        refusal = self.deposed or Deposed()
        while True:
            try:
                _, done = self._queue.popleft()
            except IndexError:
                return
            self._post(partial(_answer, [(done, refusal)]))

    def _write(self, batch: list[tuple[Operation, Done]]) -> None:
        draft = self._draft
        draft.at = self._clock()
        replies: list[tuple[Done, Any]] = []
        try:
            if self.deposed is not None:
                raise self.deposed
            for operation, done in batch:
                replies.append((done, self._apply(operation)))
            draft.place()
            if not draft.empty:
                began = time.perf_counter()
                with self._store.transaction() as tx:
                    draft.write(tx)
                self._observer.committed(len(batch), time.perf_counter() - began)
        except Exception as error:
            draft.drop()
            if isinstance(error, Deposed):
                self.deposed = error
            refusal = error if isinstance(error, FarmError) else Unavailable()
            if refusal is not error:
                log.exception("a batch of %d could not be written", len(batch))
            self._post(lambda: _answer([(done, refusal) for _, done in batch]))
            return
        changes = draft.commit()
        self._post(lambda: self._deliver(changes, lambda: _answer(replies)))

    def _apply(self, operation: Operation) -> Any:
        mark = self._draft.savepoint()
        try:
            return operation(self._draft)
        except Deposed:
            raise
        except FarmError as error:
            self._draft.rollback(mark)
            return error
        except Exception:
            self._draft.rollback(mark)
            log.exception("an operation failed; the batch goes on without it")
            return FarmError("Something went wrong in the farm; its log has the details.")


def _answer(replies: list[tuple[Done, Any]]) -> None:
    for done, value in replies:
        try:
            done(value)
        except Exception:
            log.exception("a caller could not take its answer")


class WriterThread:
    """Runs the writer on a thread of its own, which owns the database's writing connection."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._awake = self._ending = False
        self._thread: threading.Thread | None = None

    def start(self, work: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=self._loop, args=(work,), name="aifarm-writer")
        self._thread.start()

    def wake(self) -> None:
        with self._condition:
            self._awake = True
            self._condition.notify()

    def linger(self, seconds: float) -> None:
        time.sleep(seconds)

    def stop(self) -> None:
        with self._condition:
            self._ending = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()

    def _loop(self, work: Callable[[], None]) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._awake or self._ending)
                if self._ending and not self._awake:
                    return
                self._awake = False
            work()


class Inline:
    """Runs the writer in the caller's thread, at once: for simulations."""

    def __init__(self) -> None:
        self._work: Callable[[], None] = lambda: None
        self._running = False

    def start(self, work: Callable[[], None]) -> None:
        self._work = work

    def wake(self) -> None:
        if self._running:
            return  # the batch under way takes what an answer of it has queued
        self._running = True
        try:
            self._work()
        finally:
            self._running = False

    def linger(self, seconds: float) -> None:
        """Time does not pass here."""

    def stop(self) -> None:
        self._work = lambda: None
