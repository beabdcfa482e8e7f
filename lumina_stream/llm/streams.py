"""A recorded stream: what the program takes out of it is looked at in passing, and its end noted.

Where the class of a stream allows it, the very object becomes an instance of a subclass of its own
class; otherwise a proxy stands for it. Both forward every call first and look afterwards, so that the
program sees items, errors, laziness and order as they are.

What lives as long as the stream, and no longer, is its `Watch`: the span knows only the `Stream`
behind it, so that a dropped stream is noticed while somebody still holds the span.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lumina_stream.llm import reading as readings
from lumina_stream.llm.shape import Accumulator
from lumina_stream.llm.span import LlmSpan
from lumina_stream.model.events import Channel, ErrorInfo, Status
from lumina_stream.recording.context import current
from lumina_stream.recording.recorder import Recorder
from lumina_stream.recording.span import Span, status_of

TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
PIECES = "lumina.stream.pieces"
INCOMPLETE = "lumina.stream.incomplete"


class Stream:
    """One stream of a span: adds up its pieces until it is over."""

    __slots__ = (
        "_accumulator",
        "_add_text",
        "_asked_ns",
        "_first_s",
        "_recorder",
        "_span",
        "count",
        "over",
    )

    def __init__(self, span: LlmSpan, recorder: Recorder) -> None:
        self._span = span
        self._recorder = recorder
        self._accumulator: Accumulator | None = None
        self._add_text: Callable[[Channel, str], None] | None = None
        self._asked_ns = span.asked_ns
        self._first_s: float | None = None
        self.count = 0
        self.over = False
        span.stream_began(self)

    @property
    def span(self) -> Span:
        """The span that is current while the stream's own code runs."""
        return self._span

    def piece(self, item: Any) -> None:
        """Take in what the program just got."""
        try:
            self.count += 1
            accumulator = self._accumulator
            if accumulator is None:
                accumulator = self._first(item)
            added = accumulator.feed(item)
            if added and self._recorder.capture_content:
                add = self._add_text
                if add is None:
                    add = self._add_text = self._span.texts(self._recorder).add
                for piece in added:
                    add(piece.channel, piece.text)
        except Exception as error:
            self._recorder.fault(error)

    def ended(self, error: BaseException | None) -> None:
        """Take the stream's own end: exhaustion, or what it raised."""
        if self.over:
            return
        if error is None:
            self._finish("ok", None)
        elif isinstance(error, GeneratorExit):
            self.closed()
        else:
            status = status_of(error)
            self._finish(status, self._recorder.error_info(error) if status == "error" else None)

    def closed(self) -> None:
        """Take that the program closed the stream: it is complete, or was not wanted any further."""
        if not self.over:
            self._finish("ok" if self._complete() else "cancelled", None)

    def dropped(self) -> None:
        """Take that nobody holds the stream any more."""
        if not self.over:
            self._finish("ok" if self._complete() else "abandoned", None)

    def whole(self, response: Any) -> None:
        """Take an answer that turned out to be no stream."""
        if self.over:
            return
        reading = readings.read_response(response)
        if reading is None:
            self._finish("ok", None)
            return
        self.over = True
        self._span.answered(reading, whole=True)
        self._span.stream_over(self, "ok", None)

    def cut(self) -> None:
        """Record what there is so far, because the span ends first."""
        if not self.over:
            self.over = True
            self._record()

    def _first(self, item: Any) -> Accumulator:
        self._accumulator = accumulator = readings.accumulator_for(item)
        now = self._recorder.now()
        self._first_s = max(0, now - self._asked_ns) / 1e9
        self._span.set_attribute(TIME_TO_FIRST_CHUNK, self._first_s)
        return accumulator

    def _complete(self) -> bool:
        if self._accumulator is None:
            return False
        try:
            reading = self._accumulator.reading()
            return bool(reading.finish_reasons) and not reading.incomplete
        except Exception as error:
            self._recorder.fault(error)
            return False

    def _finish(self, status: Status, error: ErrorInfo | None) -> None:
        self.over = True
        self._record()
        self._span.stream_over(self, status, error)

    def _record(self) -> None:
        try:
            more: dict[str, Any] = {PIECES: self.count}
            if self._accumulator is None:
                self._span.set_attributes(more)
                return
            reading = self._accumulator.reading()
            if reading.incomplete:
                more[INCOMPLETE] = True
            self._span.answered(reading, more)
        except Exception as error:
            self._recorder.fault(error)


class Watch:
    """What a recorded stream holds, and nobody else: with it the stream is gone.

    The same stream may be recorded by several spans: a library's own and the program's around it.
    """

    __slots__ = ("busy", "inside", "over", "streams")

    def __init__(self, stream: Stream) -> None:
        self.streams = [stream]
        self.inside: Span | None = stream.span
        """The current span of the stream's own code, which may have left spans of its own open."""
        self.busy = False
        """Whether that code runs: a method that calls another one of the same stream counts once."""
        self.over = False

    def ended(self, error: BaseException | None) -> None:
        self.over = True
        for stream in self.streams:
            stream.ended(error)

    def closed(self) -> None:
        self.over = True
        for stream in self.streams:
            stream.closed()

    def whole(self, response: Any) -> None:
        self.over = True
        for stream in self.streams:
            stream.whole(response)

    def back_to(self, outside: Span | None, error: BaseException) -> None:
        """Make the program's span current again after a suspended step has failed.

        A coroutine that is closed instead of resumed may be so in another task's context.
        """
        held = current.get()
        if not isinstance(error, GeneratorExit) or held is self.inside:
            current.set(outside)
        self.inside = held
        self.busy = False

    def __del__(self) -> None:
        try:
            for stream in self.streams:
                stream.dropped()
        except Exception:
            pass  # at interpreter exit names may be gone
