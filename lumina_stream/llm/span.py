"""The span of one call of a model: what was asked, what came back, how it ended.

It ends when its block is left and every stream that it recorded is over, whichever is later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from lumina_stream.llm import reading as readings
from lumina_stream.llm.shape import Reading
from lumina_stream.llm.texts import Texts
from lumina_stream.model.events import Channel, ErrorInfo, Status
from lumina_stream.model.limits import CONTENT_LENGTH
from lumina_stream.recording.recorder import Recorder
from lumina_stream.recording.span import RecordedSpan

if TYPE_CHECKING:
    from typing import Self

    from lumina_stream.llm.streams import Stream

T = TypeVar("T")


class LlmSpan(RecordedSpan):
    """A span that understands what models answer. Made by `trace_llm`."""

    _usual: bool = False
    _open: list[Stream] = []
    _left: bool = False
    _outcome: tuple[Status, ErrorInfo | None] | None = None
    _said: frozenset[str] = frozenset()
    _since_ns: int = 0
    _texts: Texts | None = None

    def record(self, x: T) -> T:
        """Record what the model answered, and return it.

        `x`: a response object, a dictionary, a stream (sync or async), a context manager that gives
        one, or a coroutine that returns one of these. It is the same object wherever its class
        allows, otherwise one that behaves as it does. A stream is recorded as it is consumed, and
        the span ends no earlier than it. Never raises.
        """
        recorder = self._recorder
        if recorder is None or self._refused or recorder.closed:
            return x
        try:
            from lumina_stream.llm.record import record

            return record(self, recorder, x)
        except Exception as error:
            recorder.fault(error)
            return x

    def record_request(self, arguments: Mapping[str, Any]) -> Self:
        """Record what the program asks: the keyword arguments of the call, or a request's JSON body."""
        recorder = self._recorder
        if recorder is None or self._refused or recorder.closed:
            return self
        try:
            request = readings.read_request(arguments)
            attributes = readings.request_attributes(request, content=recorder.capture_content)
            for key in self._said:
                attributes.pop(key, None)
            if attributes:
                self.set_attributes(attributes)
            if recorder.capture_content:
                for message in (*(request.messages or ()), {"parts": request.system}):
                    self._travel(recorder, message, "input")
        except Exception as error:
            recorder.fault(error)
        return self

    # --- for what records on its behalf -------------------------------------------------------------

    def answered(
        self, reading: Reading, more: Mapping[str, Any] = {}, *, whole: bool = False
    ) -> None:
        """Record a reading as attributes, and how the call ended by it.

        `whole`: its text was not streamed, so that what an attribute would cut travels as text.
        """
        recorder = self._recorder
        if recorder is None:
            return
        attributes = readings.attributes_of(reading, content=recorder.capture_content)
        for key in self._said:
            attributes.pop(key, None)
        attributes |= more
        if attributes:
            self.set_attributes(attributes)
        if whole and recorder.capture_content:
            for message in reading.messages:
                self._travel(recorder, message, None)
        self._since_ns = recorder.now()
        if reading.error is None:
            self._outcome = None
        else:
            kind, message = reading.error
            shown = recorder.message(message) if recorder.capture_content else ""
            self._outcome = ("error", ErrorInfo(kind, shown))

    def asked(self, time_ns: int, said: frozenset[str]) -> None:
        """Note when the call was made, and which attributes the program itself has decided."""
        self._since_ns = time_ns
        self._said = said

    def texts(self, recorder: Recorder) -> Texts:
        """Return what takes the pieces of streamed text: they leave soon."""
        texts = self._texts
        if texts is None:
            texts = self._texts = Texts(recorder, self._head)
        return texts

    def stream_began(self, stream: Stream) -> None:
        """Wait for this stream before ending."""
        self._open.append(stream)

    def stream_over(self, stream: Stream, status: Status, error: ErrorInfo | None) -> None:
        """Take a stream's end; it is the span's when nothing else is waited for."""
        if stream in self._open:
            self._open.remove(stream)
        if self._texts is not None:
            self._texts.flush()
        if status != "ok":
            self._outcome = (status, error)
        if self._left and not self._open:
            self._finish(None)

    @property
    def asked_ns(self) -> int:
        """When the request that is answered now was made, as well as it is known."""
        return self._since_ns

    # --- inside -----------------------------------------------------------------------------------

    def _travel(
        self, recorder: Recorder, message: Mapping[str, Any], all_as: Channel | None
    ) -> None:
        """Send the long texts of a message as pieces: an attribute is cut earlier than that."""
        room = CONTENT_LENGTH
        parts = message.get("parts")
        for part in parts if isinstance(parts, list) else ():  # pyright: ignore[reportUnknownVariableType]
            text = part.get("content") if isinstance(part, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            if isinstance(text, str) and len(text) > recorder.string_length:
                reasons = part.get("type") == "reasoning"  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
                channel = all_as or ("reasoning" if reasons else "output")
                self.texts(recorder).add(channel, text[:room])
                room -= min(room, len(text))

    def end(self) -> None:
        """End the span now, whatever it still waits for."""
        super()._finish(None)

    def _finish(self, error: BaseException | None) -> None:
        if error is None and self._open and self._recorder is not None:
            self._left = True
            return
        super()._finish(error)

    def _end(self, status: Status, error: ErrorInfo | None) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        try:
            for stream in tuple(self._open):
                stream.cut()
            self._open.clear()
            if self._texts is not None:
                self._texts.flush()
        except Exception as fault:
            recorder.fault(fault)
        if status == "ok" and self._status is None and self._outcome is not None:
            status, error = self._outcome
        super()._end(status, error)
