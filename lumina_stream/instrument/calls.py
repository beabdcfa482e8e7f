"""One call of a library, one span: what the hooks of all client libraries have in common.

Of calls inside each other (a framework over a client over HTTP) the outermost hook records; what it
calls is silent meanwhile. A call inside the program's own `trace_llm` block goes into that block's
span, the first one of the block that does not fail; so does a call that OpenTelemetry traces already,
where we see its span: that one is enriched (`Enriching`), and no second one made.
"""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeAlias

import msgspec

from lumina_stream.instrument.enriching import Enriching, call_around, enriching, mirror_of
from lumina_stream.instrument.overlap import recorded_already
from lumina_stream.instrument.raw_responses import answered
from lumina_stream.instrument.registry import Patch
from lumina_stream.llm.call import OPERATION, TraceLlm
from lumina_stream.llm.instances import watched
from lumina_stream.llm.span import LlmSpan
from lumina_stream.recording.context import active, current, recorder_now
from lumina_stream.recording.recorder import Recorder
from lumina_stream.recording.span import OFF, NonRecordingSpan, Span
from lumina_stream.recording.tracing import with_attributes


class Asked(msgspec.Struct):
    """What a hooked call is about to ask."""

    provider: str | None
    operation: str
    model: str | None
    request: Mapping[str, Any] = {}
    """Its arguments, by the names of the provider's API."""
    name: str = ""
    attributes: dict[str, Any] = {}


Describe: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], Asked | None]
"""Read a call's arguments; None for one that is not to be recorded."""

PROVIDER = "gen_ai.provider.name"

quiet: ContextVar[bool] = ContextVar("lumina_inside_a_hooked_call", default=False)
"""Set while a hooked call runs: what it calls belongs to it."""

_taken: weakref.WeakSet[Span] = weakref.WeakSet()
"""Spans that have got their call."""
_made: weakref.WeakSet[Span] = weakref.WeakSet()
"""Spans of hooks themselves."""
_named_late: weakref.WeakSet[Span] = weakref.WeakSet()
"""Those of them without a model in their name."""


def tracing() -> bool:
    """Tell whether a hook has anything to do; the first thing it asks."""
    return (active.recorder is not None or active.automatic) and not quiet.get()


def suppressed() -> bool:
    """Tell whether OpenTelemetry's exporters are at work: their own requests are not of the program."""
    context = sys.modules.get("opentelemetry.context")
    if context is None:
        return False
    try:
        return bool(context.get_value("suppress_instrumentation")) or bool(
            context.get_value("suppress_http_instrumentation")
        )
    except Exception:
        return False


def inside_a_call() -> bool:
    """Tell whether the span that is current is a call that a hook records: requests in it are its own."""
    return current.get() in _made


def silent(original: Any, patch: Patch) -> Any:
    """Return what stands in the place of a function whose calls of others are not the program's."""

    def run_silently(*args: Any, **kwargs: Any) -> Any:
        before = quiet.get()
        quiet.set(before or patch.on)
        try:
            return original(*args, **kwargs)
        finally:
            quiet.set(before)

    return run_silently


class Call:
    """One call under way: its span, and whether the span is ours to end.

    Without a span it waits for the one that the library itself will begin: `bind` says which.
    """

    __slots__ = ("asked", "outer", "own", "span", "waited")

    def __init__(
        self, asked: Asked, span: LlmSpan | None, own: bool, waited: Span | None = None
    ) -> None:
        self.asked = asked
        self.span = span
        self.own = own
        self.outer: Call | None = None
        self.waited = waited
        """The span around it that has taken it."""

    def enter(self) -> None:
        """Make the span current, and what is called quiet."""
        self.outer = awaiting.get()
        awaiting.set(self if self.span is None else None)
        if self.own and self.span is not None:
            self.span.__enter__()
        quiet.set(True)

    def leave(self, error: BaseException | None = None) -> None:
        """Undo `enter`; an error ends the span."""
        if error is not None and self.span is None:
            self.bind(None)  # it failed before its library began a span
        if error is not None and self.waited is not None:
            _taken.discard(self.waited)  # for another try
        quiet.set(False)
        awaiting.set(self.outer)
        if self.own and self.span is not None:
            self.span.__exit__(type(error) if error is not None else None, error, None)

    def step_out(self) -> None:
        """Undo `enter` without an end: the call goes on elsewhere."""
        quiet.set(False)
        awaiting.set(self.outer)
        if self.own and self.span is not None:
            self.span._leave()  # pyright: ignore[reportPrivateUsage]

    def bind(self, other: Any) -> None:
        """Take the OpenTelemetry span that the library has begun; None or an unseen one: use our own.

        Of a library that begins one a try, the last is taken: it has the answer.
        """
        recorder = recorder_now()
        if recorder is None:
            return
        try:
            mirror = mirror_of(other)
            if self.span is not None:
                if mirror is None or not isinstance(self.span, Enriching):
                    return
                self.span.end()
            if mirror is not None:
                _taken.add(mirror)
                self.own = True
                self.span = enriching(recorder, mirror)
                self.span.record_request(_given(self.asked.request))
                return
            call = start(recorder, self.asked)
            if call is not None:
                self.span, self.own, self.waited = call.span, call.own, call.waited
                if self.own and self.span is not None:
                    self.span.__enter__()
        except Exception as error:
            recorder.fault(error)

    def known(self) -> dict[str, Any]:
        """Return what is known of the call before it is made, as attributes."""
        asked = self.asked
        said = {
            OPERATION: asked.operation,
            PROVIDER: asked.provider,
            "gen_ai.request.model": asked.model,
        }
        return {key: value for key, value in said.items() if value} | asked.attributes

    def answered(self, result: Any) -> Any:
        """Record the answer, and return it."""
        if self.span is None:
            self.bind(None)  # no span of the library's own came
        return result if self.span is None else answered(self.span, result)


awaiting: ContextVar[Call | None] = ContextVar("lumina_call_without_a_span", default=None)
"""The call that waits for its library's own span."""


def announcing(span_of: Callable[[Any], Any]) -> Callable[[Any, Patch], Any]:
    """Return what stands in the place of a library's function that begins its own span of a call.

    `span_of`: given what the function returned, the OpenTelemetry span; None if it began none. What
    is known of the call is on the span from its start.
    """

    def make(original: Any, patch: Patch) -> Any:
        def begin_its_own(*args: Any, **kwargs: Any) -> Any:
            call = awaiting.get() if patch.on else None
            if call is None:
                if not patch.on or not quiet.get():
                    return original(*args, **kwargs)
                token = recorded_already.set(True)
                try:
                    return original(*args, **kwargs)
                finally:
                    recorded_already.reset(token)
            with with_attributes(call.known()):
                begun = original(*args, **kwargs)
            try:
                other = span_of(begun)
            except Exception as error:  # another version's function returns something else
                other = None
                if active.recorder is not None:
                    active.recorder.fault(error)
            call.bind(other)
            return begun

        return begin_its_own

    return make


def begin(
    describe: Describe,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    traces_itself: Callable[[Any], bool] | None = None,
) -> Call | None:
    """Begin recording a call; None if it is not to be. Never raises."""
    if not tracing():
        return None
    recorder = recorder_now()
    if recorder is None:
        return None
    try:
        asked = describe(args, kwargs)
        if asked is None:
            return None
        if traces_itself is not None and traces_itself(args[0]):
            around = current.get()
            if not _waited_for(around) and _call_around(around) is None:
                return Call(asked, None, own=True)
        return start(recorder, asked)
    except Exception as error:
        recorder.fault(error)
        return None


def start(recorder: Recorder, asked: Asked, kind: str | None = None) -> Call | None:
    """Start the span of a call, or find the one that waits for it."""
    around = current.get()
    request = _given(asked.request)
    if isinstance(around, LlmSpan) and _waited_for(around):
        _taken.add(around)
        if asked.model and around in _named_late:
            around.update_name(f"{asked.operation} {asked.model}")
        if asked.provider:
            _tell_provider(around, asked.provider)
        around.record_request(request)
        return Call(asked, around, own=False, waited=around)
    mirror = _call_around(around)
    if mirror is not None:
        _taken.add(mirror)
        span = enriching(recorder, mirror)
        span.record_request(request)
        return Call(asked, span, own=True, waited=mirror)
    options: dict[str, Any] = {"operation": asked.operation, "attributes": asked.attributes}
    if asked.provider:
        options["provider"] = asked.provider
    if asked.model:
        options["model"] = asked.model
    if kind:
        options["kind"] = kind
    span = TraceLlm(asked.name, options).start(recorder)
    if span is OFF or isinstance(span, NonRecordingSpan) or not isinstance(span, LlmSpan):
        return None
    _taken.add(span)
    _made.add(span)
    if request:
        span.record_request(request)
    return Call(asked, span, own=True)


def waits_for_its_call(span: Span) -> bool:
    """Tell whether no hooked call has gone into this span yet."""
    return span not in _taken


def made_here(span: Span, *, named: bool = True) -> None:
    """Note that a span was made by a hook: HTTP requests inside it are its own.

    Not `named`: its maker does not know the model; the hook of the client gives it its name.
    """
    _made.add(span)
    if not named:
        _named_late.add(span)


def _tell_provider(span: LlmSpan, provider: str) -> None:
    """Say whom a client calls, unless the program did: an answer cannot tell OpenAI from its likes."""
    said = span._said  # pyright: ignore[reportPrivateUsage]
    if PROVIDER not in said:
        span._said = said | {PROVIDER}  # pyright: ignore[reportPrivateUsage]
        span.set_attribute(PROVIDER, provider)


def _waited_for(span: Any) -> bool:
    return isinstance(span, LlmSpan) and not span.ended and span not in _taken


def _call_around(around: Span | None) -> Span | None:
    """Return our side of OpenTelemetry's span of a call, if that is current and has no call yet."""
    mirror = call_around(around)
    return None if mirror is None or mirror in _taken else mirror


def _given(request: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in request.items() if type(v).__name__ not in _NOT_GIVEN}


def traced(
    describe: Describe, traces_itself: Callable[[Any], bool] | None = None
) -> Callable[[Any, Patch], Any]:
    """Return what stands in the place of a client's method, sync or async, and records its calls.

    `traces_itself`: told the object that is called, whether its library will begin a span of its own
    that we see.
    """

    def make(original: Any, patch: Patch) -> Any:
        if inspect.iscoroutinefunction(original):

            async def call_async(*args: Any, **kwargs: Any) -> Any:
                call = begin(describe, args, kwargs, traces_itself) if patch.on else None
                if call is None:
                    return await original(*args, **kwargs)
                return await _awaited(call, original(*args, **kwargs))

            return call_async

        def call(*args: Any, **kwargs: Any) -> Any:
            call = begin(describe, args, kwargs, traces_itself) if patch.on else None
            if call is None:
                return original(*args, **kwargs)
            call.enter()
            try:
                result = original(*args, **kwargs)
            except BaseException as error:
                call.leave(error)
                raise
            if inspect.iscoroutine(result):
                call.step_out()
                return _awaited(call, result)
            result = call.answered(result)
            call.leave()
            return result

        return call

    return make


def managing(describe: Describe) -> Callable[[Any, Patch], Any]:
    """Return what stands in the place of a `.stream()` whose answer makes the request when entered."""

    def make(original: Any, patch: Patch) -> Any:
        def stream(*args: Any, **kwargs: Any) -> Any:
            if not patch.on or not tracing():
                return original(*args, **kwargs)
            quiet.set(True)  # it prepares the call of another hooked method
            try:
                opened = original(*args, **kwargs)
            finally:
                quiet.set(False)
            try:
                opened._lumina_asked = (args, kwargs, describe)
            except AttributeError:
                pass
            return opened

        return stream

    return make


def entering(
    traces_itself: Callable[[Any], bool] | None = None,
) -> Callable[[Any, Patch], Any]:
    """Return what stands in the place of such an answer's `__enter__`, and records the call."""

    def begin_here(opened: Any, patch: Patch) -> Call | None:
        asked = getattr(opened, "_lumina_asked", None)
        if not patch.on or asked is None or not tracing():
            return None
        args, kwargs, describe = asked
        if watched(opened) is None:
            return begin(describe, args, kwargs, traces_itself)
        around = current.get()  # the program records it itself
        return begin(describe, args, kwargs) if _waited_for(around) else None

    def make(original: Any, patch: Patch) -> Any:
        if inspect.iscoroutinefunction(original):

            async def enter_async(self: Any) -> Any:
                call = begin_here(self, patch)
                if call is None:
                    return await _hushed_async(original(self), patch.on)
                opened = watched(self) is None
                call.enter()
                try:
                    stream = await original(self)
                except BaseException as error:
                    call.leave(error)
                    raise
                if opened:
                    stream = call.answered(stream)
                call.leave()
                return stream

            return enter_async

        enter_silently = silent(original, patch)

        def enter(self: Any) -> Any:
            call = begin_here(self, patch)
            if call is None:
                return enter_silently(self)
            opened = watched(self) is None
            call.enter()
            try:
                stream = original(self)
            except BaseException as error:
                call.leave(error)
                raise
            if opened:
                stream = call.answered(stream)
            call.leave()
            return stream

        return enter

    return make


async def _hushed_async(waiting: Any, on: bool) -> Any:
    before = quiet.get()
    quiet.set(before or on)
    try:
        return await waiting
    finally:
        quiet.set(before)


async def _awaited(call: Call, coroutine: Any) -> Any:
    call.enter()
    try:
        result = await coroutine
    except BaseException as error:
        call.leave(error)
        raise
    result = call.answered(result)
    call.leave()
    return result


_NOT_GIVEN = ("NotGiven", "Omit", "Unset", "Sentinel")
