"""Group commit: one thread that writes the log, and what waits for it.

Whatever was submitted while the last commit ran goes into the next one, so the group grows with
the load and nobody waits for a timer. Everything but the thread's own loop runs in the event loop.

After a refused commit nothing that was submitted before may be stored any more: a later batch of
the same producer would leave a hole. So every submission carries a generation; a refusal ends it.
"""

import asyncio
import itertools
import queue
import threading
from collections.abc import Callable
from typing import Any

import msgspec

from lumina_stream.relay.admission import is_relay
from lumina_stream.relay.log import Entry, Log, LogError, LogUnavailable
from lumina_stream.relay.runs import joined

GROUP_BYTES = 8 << 20
"""Event bytes of one commit: at disk speed some 50 ms, so that acknowledgements keep flowing."""
GROUP_ENTRIES = 1_024
"""Frames of one commit: bounds what one refused transaction sends back."""


class Submission(msgspec.Struct, gc=False):
    """A frame on its way into the log.

    `remember` (a producer id and its record) is stored in the same transaction. `on_settled` is
    called in the event loop when it is decided: with None once it is stored, else with the reason.
    """

    entry: Entry
    remember: tuple[str, bytes] | None = None
    generation: int = 0
    on_settled: Callable[[Exception | None], None] | None = None


class Committer:
    """Own the log's writing side.

    `on_committed(submissions, first_offsets)` and `on_refused(submissions, producer_ids, error)` are
    called in the event loop: the first in the order of the log, the second once per refusal with
    what was refused and every producer that has something outstanding.
    `on_rejected(submission, error)`: the log will never take this one.
    """

    def __init__(
        self,
        log: Log,
        on_committed: Callable[[list[Submission], list[int]], None],
        on_refused: Callable[[list[Submission], set[str], Exception], None],
        on_rejected: Callable[[Submission, LogError], None],
    ) -> None:
        self._log = log
        self._on_committed = on_committed
        self._on_refused = on_refused
        self._on_rejected = on_rejected
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Submission | _Job | None] = queue.SimpleQueue()
        self._generation = 0
        self._refused_generation = -1  # the writer's thread's own
        self._outstanding: dict[str, int] = {}
        self.pending_bytes = 0
        """Event bytes that were submitted and are not decided."""
        self._start()

    def submit(self, submission: Submission) -> None:
        """Queue a frame for the next commit."""
        entry = submission.entry
        submission.generation = self._generation
        self.pending_bytes += len(entry.events)
        self._outstanding[entry.producer_id] = self._outstanding.get(entry.producer_id, 0) + 1
        self._queue.put(submission)

    async def run(self, job: Callable[[Log], Any]) -> Any:
        """Run `job(log)` in the writer's thread, after what was submitted before; return its result."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put(_Job(job, future))
        return await future

    async def close(self) -> None:
        """Commit what is queued, close the log, and end the thread."""
        await self.run(lambda log: log.close())
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="lumina-log-writer", daemon=True)
        self._thread.start()

    # --- in the writer's thread --------------------------------------------------------------

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            while item is not _NOTHING:
                if item is None:
                    return
                item = self._take(item)

    def _take(self, item: "Submission | _Job") -> "Submission | _Job | None":
        """Do a job, or commit a frame with what waits behind it; return the job that ended the group."""
        if isinstance(item, _Job):
            self._do(item)
            return _NOTHING
        group, following = self._group(item)
        alive = [s for s in group if s.generation > self._refused_generation]
        for dead in group:
            if dead.generation <= self._refused_generation:
                self._tell(self._discarded, dead)
        if alive:
            alive = _in_runs(alive)
            try:
                self._commit(alive)
            except _Partly as partly:
                self._refused_generation = alive[-1].generation
                self._tell(self._refused, partly.rest, partly.error)
            except Exception as error:  # whatever it is, what is not stored must come again
                self._refused_generation = alive[-1].generation
                self._tell(self._refused, alive, error)
        return following

    def _group(self, first: Submission) -> "tuple[list[Submission], Submission | _Job | None]":
        group, size = [first], len(first.entry.events)
        while size < GROUP_BYTES and len(group) < GROUP_ENTRIES:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if not isinstance(item, Submission):
                return group, item
            group.append(item)
            size += len(item.entry.events)
        return group, _NOTHING

    def _commit(self, group: list[Submission]) -> None:
        for submission in group:
            if submission.remember is not None:
                self._log.remember_producer(*submission.remember)
        try:
            first, *_ = self._log.append(list(joined(s.entry for s in group)))
        except LogUnavailable:
            raise
        except LogError as error:
            # One entry that the log will not have must not take its neighbours with it.
            if len(group) == 1:
                self._tell(self._rejected, group[0], error)
                return
            for index, submission in enumerate(group):
                try:
                    self._commit([submission])
                except LogUnavailable as unavailable:
                    raise _Partly(group[index:], unavailable) from unavailable
            return
        counts = (s.entry.count for s in group[:-1])
        self._tell(self._committed, group, list(itertools.accumulate(counts, initial=first)))

    def _do(self, job: "_Job") -> None:
        try:
            result = job.do(self._log)
        except Exception as error:
            self._tell(_reject, job.future, error)
        else:
            self._tell(_resolve, job.future, result)

    def _tell(self, callback: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:
            pass  # the loop is closed: the process ends, and nobody is left to tell

    # --- back in the event loop --------------------------------------------------------------

    def _committed(self, group: list[Submission], offsets: list[int]) -> None:
        for submission in group:
            self._settle(submission)
        self._on_committed(group, offsets)
        for submission in group:
            _say(submission, None)

    def _rejected(self, submission: Submission, error: LogError) -> None:
        self._settle(submission)
        self._on_rejected(submission, error)
        _say(submission, error)

    def _refused(self, group: list[Submission], error: Exception) -> None:
        producers = set(self._outstanding)
        for submission in group:
            self._settle(submission)
        if group[-1].generation == self._generation:
            self._generation += 1
            self._on_refused(group, producers, error)
        for submission in group:
            _say(submission, error)

    def _discarded(self, submission: Submission) -> None:
        self._settle(submission)
        _say(submission, LogUnavailable("an earlier commit was refused"))

    def _settle(self, submission: Submission) -> None:
        entry = submission.entry
        self.pending_bytes -= len(entry.events)
        left = self._outstanding[entry.producer_id] - 1
        if left:
            self._outstanding[entry.producer_id] = left
        else:
            del self._outstanding[entry.producer_id]


def _in_runs(group: list[Submission]) -> list[Submission]:
    """Order a group by producer, so that what follows each other becomes one row of the log.

    What the relay says of producers stays where it is: before or after what it is about.
    """
    ordered: list[Submission] = []
    by_producer: dict[str, list[Submission]] = {}
    for submission in group:
        producer_id = submission.entry.producer_id
        if is_relay(producer_id):
            ordered += itertools.chain.from_iterable(by_producer.values())
            by_producer.clear()
            ordered.append(submission)
        else:
            by_producer.setdefault(producer_id, []).append(submission)
    ordered += itertools.chain.from_iterable(by_producer.values())
    return ordered


def _say(submission: Submission, error: Exception | None) -> None:
    if submission.on_settled is not None:
        submission.on_settled(error)


class _Partly(Exception):
    def __init__(self, rest: list[Submission], error: LogError) -> None:
        super().__init__(str(error))
        self.rest = rest
        self.error = error


class _Job:
    def __init__(self, do: Callable[[Log], Any], future: asyncio.Future[Any]) -> None:
        self.do = do
        self.future = future


_NOTHING = _Job(lambda _: None, None)  # type: ignore[arg-type]


def _resolve(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


def _reject(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
