"""`serve --forward URL`: finished spans on to another OpenTelemetry backend, at least once.

A cursor into the log says up to where every span that ended has been taken over there. It moves after
the other side has answered, so a crash sends again rather than not at all. A span is sent as its tree
has it when its end is met, whichever events brought it there.
"""

import asyncio
import contextlib
import gzip
import random
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import msgspec

from lumina_stream.formats import otlp, otlp_protobuf
from lumina_stream.model.errors import ConfigurationError, DecodeError
from lumina_stream.model.events import SpanEnded
from lumina_stream.model.node import SpanNode
from lumina_stream.model.tree import TraceTree
from lumina_stream.relay import admission
from lumina_stream.relay.log import LogUnavailable
from lumina_stream.relay.otlp import FORWARDED_BY
from lumina_stream.version import __version__

if TYPE_CHECKING:
    from lumina_stream.relay.core import Relay

LOOK_S = 0.5
"""Between two looks at the log: what is forwarded is not watched live."""
READ_BYTES = 256 << 10
"""Log read at a time: a few milliseconds of the loop."""
BATCH_SPANS = 512
"""Spans of one request: OpenTelemetry's own exporters send as many."""
TIMEOUT_S = 10.0
"""For one request, as OpenTelemetry's exporters have it."""
BACKOFF_FIRST_S, BACKOFF_MOST_S = 0.5, 30.0
"""Waits after a failure: doubled each time, with full jitter."""
REMEMBERED = 100_000
"""Spans sent lately, which are not sent again when another copy of their end arrives."""
TREES = 4
"""Trees kept that are no longer in memory: a long trace's spans end in many reads."""

_TRANSIENT = frozenset((408, 425, 429, 500, 502, 503, 504))
_REFUSED = frozenset((401, 403, 404, 405, 415, 301, 302, 303, 307, 308, 508))
"""Answers that say that the other side is not set up: nothing is dropped while a person mends it."""

_T = TypeVar("_T")


class Cursor(msgspec.Struct, frozen=True):
    """Up to where the log has been forwarded."""

    epoch: str
    offset: int


class Answer(msgspec.Struct, frozen=True):
    """What the other side said; status 0 means that it could not be reached."""

    status: int
    reason: str = ""
    retry_after_s: float = 0.0
    body: bytes = b""


def forward_url(text: str) -> str:
    """Return the address to post spans to; raise `ConfigurationError` if the text is none."""
    try:
        parts = urllib.parse.urlsplit(text)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_url, parts = False, urllib.parse.urlsplit("")
    if not is_url:
        raise ConfigurationError(
            f"--forward {text!r} is no http or https URL; write for example http://collector:4318"
        )
    path = parts.path.rstrip("/")
    if not path.endswith("/v1/traces"):
        path += "/v1/traces"
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))


def forward_headers(text: str) -> dict[str, str]:
    """Return headers written as OpenTelemetry has them: `key=value,key2=value2`, percent-encoded."""
    found: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if part.strip():
            if not equals or not key.strip():
                raise ConfigurationError("forward headers are written key=value,key2=value2")
            found[key.strip()] = urllib.parse.unquote(value.strip())
    return found


class Forwarder:
    """Follow a relay's log and post what has finished. `run` it as a task of the relay's loop."""

    def __init__(
        self,
        relay: "Relay",
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        post: Callable[[str, bytes, Mapping[str, str]], Answer] | None = None,
        pause: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self._relay = relay
        self._url = forward_url(url)
        self._headers = {
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "gzip",
            "User-Agent": f"lumina-stream/{__version__}",
            FORWARDED_BY: relay.witness.producer_id,
            **(headers or {}),
        }
        self._post = post or send
        self._pause = pause
        self._file = relay.folder / "forward.json"
        self._sent: dict[tuple[str, str, int], None] = {}
        self._trees: dict[str, tuple[int, TraceTree | None]] = {}
        self._said: str | None = None
        self._upto = 0

    async def run(self) -> None:
        """Forward for ever."""
        await self._relay.ready.wait()
        cursor = self._resume()
        while True:
            moved = await self.step(cursor)
            if moved == cursor:
                await self._pause(LOOK_S)
            cursor = moved

    async def step(self, cursor: Cursor) -> Cursor:
        """Forward what ended in the next piece of the log; return the cursor after it."""
        applied = self._relay.projections.offset
        if applied <= cursor.offset:
            return cursor
        try:
            rows = self._relay.store.read(cursor.offset, max_bytes=READ_BYTES)
        except LogUnavailable as error:
            self._complain(f"the log cannot be read: {error}")
            return cursor
        upto, ends = cursor.offset, dict[tuple[str, str, int], None]()
        for row in rows:
            if row.last_offset > applied:
                break
            upto = row.last_offset
            ends.update(_ends(row.events, row.producer_id))
        if not rows:  # nothing readable is left in between
            upto = applied
        if upto == cursor.offset:
            return cursor
        self._upto = upto
        keys = [key for key in ends if key not in self._sent]
        for at in range(0, len(keys), BATCH_SPANS):
            part = keys[at : at + BATCH_SPANS]
            await self._deliver([s for s in map(self._span, part) if s is not None])
            self._remember(part)
        moved = Cursor(self._relay.store.epoch.id, upto)
        self._store(moved)
        return moved

    # --- the cursor --------------------------------------------------------------------------

    def _resume(self) -> Cursor:
        """Return where to go on: after what was sent, or with what comes from now on."""
        store = self._relay.store
        now = Cursor(store.epoch.id, self._relay.projections.offset)
        try:
            saved = msgspec.json.decode(self._file.read_bytes(), type=dict[str, Cursor])
        except FileNotFoundError:
            saved = {}
        except (OSError, msgspec.DecodeError) as error:
            self._relay.log.warning("the forward cursor cannot be read", error=str(error))
            saved = {}
        cursor = saved.get(self._url)
        if cursor is None:
            self._store(now)
            return now
        first = store.first_offset - 1
        if not self._is_known(cursor):
            self._relay.log.warning("the forward cursor is not of this log; all of it is sent")
            return Cursor(now.epoch, first)
        if cursor.offset < first:
            self._relay.log.warning(
                "events were removed before they were forwarded", count=first - cursor.offset
            )
            return Cursor(now.epoch, first)
        return cursor

    def _is_known(self, cursor: Cursor) -> bool:
        epochs = list(self._relay.store.epochs)
        ends = [*(e.first_offset - 1 for e in epochs[1:]), self._relay.store.next_offset - 1]
        return any(
            e.id == cursor.epoch and cursor.offset <= end
            for e, end in zip(epochs, ends, strict=True)
        )

    def _store(self, cursor: Cursor) -> None:
        saved: dict[str, Cursor] = {}
        with contextlib.suppress(OSError, msgspec.DecodeError):
            saved = msgspec.json.decode(self._file.read_bytes(), type=dict[str, Cursor])
        saved[self._url] = cursor
        part = Path(f"{self._file}.part")
        try:
            part.write_bytes(msgspec.json.encode(saved))
            part.replace(self._file)
        except OSError as error:
            self._complain(f"the forward cursor cannot be stored: {error}")

    # --- spans -------------------------------------------------------------------------------

    def _span(self, key: tuple[str, str, int]) -> tuple[str, SpanNode] | None:
        trace_id, span_id, _ = key
        if self._relay.deleting.is_deleted(trace_id):
            return None
        tree = self._tree(trace_id)
        node = None if tree is None else tree.span(span_id)
        if node is None or node.start is None or node.end is None:
            return None  # its start is missing, or was removed: there is nothing to show it by
        return trace_id, node

    def _tree(self, trace_id: str) -> TraceTree | None:
        projections = self._relay.projections
        if trace_id in projections.forest.traces:
            self._trees.pop(trace_id, None)
            return projections.tree(trace_id)
        known = self._trees.get(trace_id)
        if known is None or known[0] < self._upto:
            if len(self._trees) >= TREES:
                del self._trees[next(iter(self._trees))]
            known = self._trees[trace_id] = (projections.offset, projections.tree(trace_id))
        return known[1]

    def _remember(self, keys: list[tuple[str, str, int]]) -> None:
        self._sent.update(dict.fromkeys(keys))
        while len(self._sent) > REMEMBERED:
            del self._sent[next(iter(self._sent))]

    # --- delivery ----------------------------------------------------------------------------

    async def _deliver(self, spans: list[tuple[str, SpanNode]]) -> None:
        """Post spans until they are taken, or refused for good."""
        failures = 0
        counters = self._relay.counters
        while spans:
            groups = otlp.groups_of(spans, self._relay.guests.resource)
            answer = await _in_thread(lambda groups=groups: self._send(groups))
            if 200 <= answer.status < 300:
                self._taken(len(spans), answer)
                return
            counters.forward_failures += 1
            if answer.status == 413 and len(spans) > 1:
                half = len(spans) // 2
                await self._deliver(spans[:half])
                spans = spans[half:]
                continue
            self._complain(f"{self._url} answers {answer.status or 'nothing'}: {answer.reason}")
            known = answer.status in _TRANSIENT or answer.status in _REFUSED
            if answer.status and not known:
                counters.forward_dropped_spans += len(spans)
                self._relay.log.error("spans refused for good", count=len(spans))
                return
            failures += 1
            most = min(BACKOFF_MOST_S, BACKOFF_FIRST_S * 2 ** min(failures - 1, 16))
            await self._pause(max(answer.retry_after_s, random.uniform(most / 4, most)))

    def _send(self, groups: list[otlp.Group]) -> Answer:
        body = gzip.compress(otlp_protobuf.write(groups), 1)
        return self._post(self._url, body, self._headers)

    def _taken(self, count: int, answer: Answer) -> None:
        counters = self._relay.counters
        refused, reason = 0, ""
        with contextlib.suppress(DecodeError):
            refused, reason = otlp_protobuf.read_response(answer.body)
        if refused:
            self._complain(f"{self._url} refused {refused} spans: {reason}")
        elif self._said is not None:
            self._relay.log.info("forwarding goes on", url=self._url)
            self._said = None
        counters.forward_dropped_spans += min(refused, count)
        counters.forwarded_spans += max(0, count - refused)

    def _complain(self, message: str) -> None:
        """Log a failure, once for as long as it stays the same."""
        if message != self._said:
            self._said = message
            self._relay.log.warning("forwarding waits", reason=message)


def _ends(events: bytes, producer_id: str) -> Iterator[tuple[tuple[str, str, int], None]]:
    try:
        admitted = admission.admit(events, producer_id).events
    except DecodeError:
        return
    for event in admitted:
        if isinstance(event, SpanEnded):
            yield (event.trace_id, event.span_id, event.time_ns), None


def send(url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Post a body; return what was answered. Redirects are not followed: they would lose the body."""
    request = urllib.request.Request(url, body, dict(headers), method="POST")
    try:
        with _opener.open(request, timeout=TIMEOUT_S) as response:
            return Answer(response.status, body=response.read(1 << 16))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, str(error.reason), _seconds(error.headers.get("Retry-After")))
    except (OSError, ValueError) as error:
        return Answer(0, str(getattr(error, "reason", error)))
    except Exception as error:  # http.client raises its own for what is no HTTP
        return Answer(0, f"{type(error).__name__}: {error}")


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> None:
        return None


_opener = urllib.request.build_opener(_Stay)


def _seconds(text: str | None) -> float:
    try:
        return max(0.0, min(BACKOFF_MOST_S, float(text or 0)))
    except ValueError:
        return 0.0


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Run blocking work beside the loop, in a thread that no exit waits for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def tell(result: _T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # pyright: ignore[reportArgumentType]

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: the relay ended meanwhile
            loop.call_soon_threadsafe(tell, result, failure)

    threading.Thread(target=run, name="lumina-forward", daemon=True).start()
    return await future
