"""Spans that a framework announces: begun, ended and nested by the ids of its own callbacks.

A framework's call of a model waits for the client below it: when the client's own hook sees the
call, it goes into this span, with all that a client knows; else what the framework says is recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from lumina_stream.instrument import calls
from lumina_stream.llm.call import TraceLlm
from lumina_stream.llm.shape import Reading
from lumina_stream.llm.span import LlmSpan
from lumina_stream.llm.streams import TIME_TO_FIRST_CHUNK
from lumina_stream.recording.context import active, recorder_now
from lumina_stream.recording.recorder import Recorder
from lumina_stream.recording.span import NonRecordingSpan, Span
from lumina_stream.recording.starting import CURRENT
from lumina_stream.recording.tracing import start_span

MAX_OPEN = 100_000
"""Runs that are kept at once: a framework that never says that they ended must not grow us."""


class Runs:
    """The open runs of one framework. No call raises."""

    def __init__(self) -> None:
        self._open: dict[Any, Span] = {}
        self._hidden: set[Any] = set()
        self._streaming: set[Any] = set()
        self._lock = threading.Lock()

    def find(self, key: Any) -> Span | None:
        """Return the span of a run that is open."""
        return self._open.get(key)

    def begin(
        self,
        key: Any,
        parent: Any,
        name: str,
        kind: str,
        attributes: Mapping[str, Any] | None = None,
    ) -> Span | None:
        """Begin a run inside another one, or where the program is; it is current from now on."""
        recorder = recorder_now()
        if recorder is None:
            return None
        try:
            above = self._open.get(parent) or CURRENT
            span = start_span(name, kind=kind, parent=above, attributes=attributes)
            return self._entered(key, span)
        except Exception as error:
            recorder.fault(error)
            return None

    def begin_call(self, key: Any, parent: Any, asked: calls.Asked) -> Span | None:
        """Begin a run that is one call of a model."""
        recorder = recorder_now()
        if recorder is None:
            return None
        try:
            options: dict[str, Any] = {
                "operation": asked.operation,
                "attributes": asked.attributes,
                "parent": self._open.get(parent) or CURRENT,
            }
            if asked.provider:
                options["provider"] = asked.provider
            if asked.model:
                options["model"] = asked.model
            span = TraceLlm(asked.name, options).start(recorder)
            if isinstance(span, LlmSpan):
                calls.made_here(span, named=bool(asked.model))
                if asked.request:
                    span.record_request(asked.request)
            return self._entered(key, span)
        except Exception as error:
            recorder.fault(error)
            return None

    def skip(self, key: Any, parent: Any) -> None:
        """Let what is inside a run that is not shown be inside the run around it."""
        above = self._open.get(parent)
        if above is not None and len(self._open) < MAX_OPEN:
            self._open[key] = above
            self._hidden.add(key)

    def piece(self, key: Any, text: str) -> None:
        """Record a streamed piece of a call, unless the client's hook does."""
        span, recorder = self._open.get(key), active.recorder
        if recorder is None or not isinstance(span, LlmSpan) or not unseen(span):
            return
        try:
            if key not in self._streaming:
                self._streaming.add(key)
                waited_s = max(0, recorder.now() - span.asked_ns) / 1e9
                span.set_attribute(TIME_TO_FIRST_CHUNK, waited_s)
            if text and recorder.capture_content:
                span.texts(recorder).add("output", text)
        except Exception as error:
            recorder.fault(error)

    def answered(self, key: Any, reading: Reading) -> None:
        """Record what a call answered, unless the client's hook has."""
        span = self._open.get(key)
        if isinstance(span, LlmSpan) and unseen(span):
            try:
                span.answered(reading)
            except Exception as error:
                if active.recorder is not None:
                    active.recorder.fault(error)

    def end(self, key: Any, error: BaseException | None = None, message: str = "") -> None:
        """End a run; with an error or a message it failed."""
        with self._lock:
            span = self._open.pop(key, None)
            self._streaming.discard(key)
            if key in self._hidden:
                self._hidden.discard(key)
                return
        if span is None:
            return
        if message and error is None:
            span.set_status("error", message if content() else "")
        around = span._previous  # pyright: ignore[reportPrivateUsage]
        span.__exit__(type(error) if error is not None else None, error, None)
        # The end is often announced in a task of its own: the context of the start still holds it.
        span._passed, span._previous = True, around  # pyright: ignore[reportPrivateUsage]

    def _entered(self, key: Any, span: Span) -> Span | None:
        if isinstance(span, NonRecordingSpan):
            return None
        span.__enter__()
        if len(self._open) < MAX_OPEN:
            self._open[key] = span
        return span


def unseen(span: Span) -> bool:
    """Tell whether no client's hook has recorded the call of this span."""
    return calls.waits_for_its_call(span)


def content(recorder: Recorder | None = None) -> bool:
    """Tell whether texts may be recorded."""
    recorder = recorder or active.recorder
    return recorder is not None and recorder.capture_content
