"""OpenAI's responses: whole, and their typed event streams.

A response has no finish reason of its own: its status stands for it, or, where it is incomplete, the
reason. A stream ends in `completed`, `incomplete` or `failed`, each with the whole response, which
then replaces what the pieces had said.
"""

from __future__ import annotations

from typing import Any

from lumina_stream.llm.openai_chat import extra_of, provider_of, read_error, read_usage
from lumina_stream.llm.parts import MOST_PARTS, part_of, reasoning_part, text_part, tool_call_part
from lumina_stream.llm.shape import (
    NOTHING,
    SLOTS_KEPT,
    Channel,
    Fields,
    Piece,
    Reading,
    Text,
    faulty,
    fields,
    items,
    text,
)

_UNFINISHED = ("in_progress", "queued")


def read_responses(answer: Any, known: Fields) -> Reading:
    """Read a whole response."""
    status = text(known.get("status"))
    why = text(fields(known.get("incomplete_details")).get("reason"))
    finish = why or (None if status in _UNFINISHED else status)
    found: list[dict[str, Any]] = []
    role = "assistant"
    for item in items(known.get("output"))[:MOST_PARTS]:
        found += part_of(item)
    usage = known.get("usage")
    extra = extra_of(known, usage)
    conversation = known.get("conversation")
    conversation_id = text(conversation) or text(fields(conversation).get("id"))
    if conversation_id:
        extra["gen_ai.conversation.id"] = conversation_id
    error = read_error(known.get("error"))
    if error is None and status == "failed":
        error = ("failed", "")
    message = {"role": role, "parts": found, "finish_reason": finish}
    return Reading(
        provider=provider_of(answer, known),
        operation="chat",
        response_model=text(known.get("model")),
        response_id=text(known.get("id")),
        finish_reasons=[finish] if finish else [],
        usage=read_usage(usage),
        messages=[message] if found or finish else [],
        error=error,
        incomplete=status in _UNFINISHED,
        extra=extra,
    )


class _Item:
    """One output item as it streams: text by content part, or a tool call's arguments."""

    __slots__ = ("call_id", "channel", "name", "text", "whole")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.text = Text()
        self.call_id: str | None = None
        self.name: str | None = None
        self.whole: Any = None

    def parts(self) -> list[dict[str, Any]]:
        if self.whole is not None:
            return part_of(self.whole)
        said = self.text.joined()
        if self.channel == "tool":
            return [tool_call_part(self.call_id, self.name, said)]
        if not said:
            return []
        return [reasoning_part(said) if self.channel == "reasoning" else text_part(said)]


_CHANNELS: dict[str, Channel] = {
    "response.output_text.delta": "output",
    "response.refusal.delta": "output",
    "response.audio.transcript.delta": "output",
    "response.output_audio_transcript.delta": "output",
    "transcript.text.delta": "output",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning.delta": "reasoning",
    "response.function_call_arguments.delta": "tool",
    "response.custom_tool_call_input.delta": "tool",
    "response.mcp_call_arguments.delta": "tool",
    "response.code_interpreter_call_code.delta": "tool",
}


class ResponsesStream:
    """Accumulate the events of a streamed response (and of a streamed transcription)."""

    def __init__(self) -> None:
        self._items: dict[Any, _Item] = {}
        self._last: Any = None
        self._error: tuple[str, str] | None = None
        self._ended = False

    def feed(self, piece: Any) -> list[Piece]:
        """Take one event."""
        try:
            return self._feed(fields(piece))
        except Exception as error:
            faulty(error)
            return []

    def _feed(self, event: Fields) -> list[Piece]:
        kind = text(event.get("type")) or ""
        channel = _CHANNELS.get(kind)
        if channel is not None:
            delta = event.get("delta")
            if type(delta) is not str or not delta:
                return []
            item = self._item(event, channel)
            if item is not None:
                item.text.add(delta)
            return [Piece(channel, delta)]
        response = event.get("response")
        if response is not None:
            self._last = response
            self._ended = kind in (
                "response.completed",
                "response.incomplete",
                "response.failed",
                "response.cancelled",
                "response.done",
            )
        elif kind in ("response.output_item.added", "response.output_item.done"):
            self._take_item(event, kind.endswith("done"))
        elif kind == "error":
            self._error = read_error(event.get("error")) or read_error(
                {"type": event.get("code"), "message": event.get("message")}
            )
            self._ended = True
        elif kind == "transcript.text.done":
            self._last = {
                "status": "completed",
                "usage": event.get("usage"),
                "output": [{"type": "output_text", "text": event.get("text")}],
            }
            self._ended = True
        return []

    def _item(self, event: Fields, channel: Channel) -> _Item | None:
        place = event.get("output_index")
        if type(place) is not int:
            place = text(event.get("item_id")) or channel
        item = self._items.get(place)
        if item is None:
            if len(self._items) >= SLOTS_KEPT:
                return None
            item = self._items[place] = _Item(channel)
        return item

    def _take_item(self, event: Fields, is_whole: bool) -> None:
        whole = event.get("item")
        known = fields(whole)
        kind = text(known.get("type")) or ""
        channel: Channel = "output" if kind == "message" else "tool"
        item = self._item(event, "reasoning" if kind == "reasoning" else channel)
        if item is None:
            return
        item.call_id = text(known.get("call_id")) or text(known.get("id"))
        item.name = text(known.get("name")) or kind.removesuffix("_call")
        if is_whole:
            item.whole = whole

    def reading(self) -> Reading:
        """Return what is known so far."""
        known = NOTHING if self._last is None else fields(self._last)
        reading = read_responses(self._last, known)
        if not reading.messages or not reading.messages[0]["parts"]:
            found = [part for _, item in _in_order(self._items) for part in item.parts()]
            finish = reading.finish_reasons[0] if reading.finish_reasons else None
            if found:
                reading.messages = [{"role": "assistant", "parts": found, "finish_reason": finish}]
        if self._error is not None:
            reading.error = self._error
        reading.incomplete = not self._ended
        return reading


def _in_order(found: dict[Any, _Item]) -> list[tuple[Any, _Item]]:
    if all(type(place) is int for place in found):
        return sorted(found.items(), key=lambda pair: pair[0])
    return list(found.items())
