"""The two encodings of frames: MessagePack maps tagged by `type`, and the same as JSON text.

Inside the program frames hold events as raw MessagePack: the JSON codec translates at its border, so
that machines and log know one form.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import msgspec

from lumina_stream.model import codec
from lumina_stream.model.errors import DecodeError, RemoteProtocolError
from lumina_stream.model.events import Event, UnknownEvent
from lumina_stream.model.record import Columns, SpanRecord
from lumina_stream.protocol import SUBPROTOCOL, SUBPROTOCOL_JSON, frames, guards


class Wire(Protocol):
    """Encode and decode frames in one of the two encodings.

    Decoding raises `RemoteProtocolError` on anything that is no such frame.
    """

    subprotocol: str

    def encode(self, frame: frames.AnyFrame) -> bytes | str: ...

    def producer_frame(self, data: bytes | str) -> frames.ProducerFrame: ...

    def relay_to_producer(self, data: bytes | str) -> frames.RelayToProducer: ...

    def subscribe(self, data: bytes | str) -> frames.Subscribe: ...

    def relay_to_consumer(self, data: bytes | str) -> frames.RelayToConsumer: ...


class _Binary:
    subprotocol = SUBPROTOCOL

    _encode = msgspec.msgpack.Encoder().encode
    _producer = msgspec.msgpack.Decoder(frames.ProducerFrame)
    _to_producer = msgspec.msgpack.Decoder(frames.RelayToProducer)
    _subscribe = msgspec.msgpack.Decoder(frames.Subscribe)
    _to_consumer = msgspec.msgpack.Decoder(frames.RelayToConsumer)

    def encode(self, frame: frames.AnyFrame) -> bytes:
        return self._encode(frame)

    def producer_frame(self, data: bytes | str) -> frames.ProducerFrame:
        return self._decode(self._producer, data)

    def relay_to_producer(self, data: bytes | str) -> frames.RelayToProducer:
        return self._decode(self._to_producer, data)

    def subscribe(self, data: bytes | str) -> frames.Subscribe:
        return self._decode(self._subscribe, data)

    def relay_to_consumer(self, data: bytes | str) -> frames.RelayToConsumer:
        return self._decode(self._to_consumer, data)

    def _decode(self, decoder: msgspec.msgpack.Decoder[Any], data: bytes | str) -> Any:
        if isinstance(data, str):
            raise RemoteProtocolError("lumina.v1 takes binary frames; got text", code=1003)
        guards.check_frame(data)
        try:
            return decoder.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise RemoteProtocolError(f"not a frame of lumina.v1: {error}", code=1007) from None


class _Json:
    subprotocol = SUBPROTOCOL_JSON

    _encode = msgspec.json.Encoder().encode
    _producer = msgspec.json.Decoder(frames.ProducerFrame)
    _to_producer = msgspec.json.Decoder(frames.RelayToProducer)
    _subscribe = msgspec.json.Decoder(frames.Subscribe)
    _to_consumer = msgspec.json.Decoder(frames.RelayToConsumer)
    _events = msgspec.json.Decoder(list[msgspec.Raw])

    def encode(self, frame: frames.AnyFrame) -> str:
        match frame:
            case frames.FactBatch():
                frame = msgspec.structs.replace(frame, facts=tuple(_facts_as_json(frame.facts)))
            case frames.Batch():
                raws = [
                    codec.encode_json(codec.decode(raw)) for raw in codec.split_array(frame.events)
                ]
                frame = frames.Batch(frame.first_seq, msgspec.Raw(b"[" + b",".join(raws) + b"]"))
            case frames.Snapshot(spans=Columns() as spans):
                plain = msgspec.to_builtins(spans.columns, builtin_types=(bytes,))
                columns = _with_values(plain, codec.tag_value)
                frame = msgspec.structs.replace(frame, spans=Columns(spans.count, columns))
            case frames.Hello():
                frame = msgspec.structs.replace(frame, resource=codec.tag_value(frame.resource))
            case _:
                pass
        return self._encode(frame).decode()

    def producer_frame(self, data: bytes | str) -> frames.ProducerFrame:
        frame: frames.ProducerFrame = self._decode(self._producer, data)
        if isinstance(frame, frames.Batch):
            try:
                events = [_packed(raw) for raw in self._events.decode(frame.events)]
            except msgspec.DecodeError as error:
                raise RemoteProtocolError(
                    f"events are not a JSON array: {error}", code=1007
                ) from None
            return frames.Batch(frame.first_seq, msgspec.Raw(codec.join_array(events)))
        if isinstance(frame, frames.Hello):
            try:
                return msgspec.structs.replace(frame, resource=codec.untag(frame.resource))
            except RecursionError as error:
                raise RemoteProtocolError(f"a resource whose {error}", code=1007) from None
        return frame

    def relay_to_producer(self, data: bytes | str) -> frames.RelayToProducer:
        return self._decode(self._to_producer, data)

    def subscribe(self, data: bytes | str) -> frames.Subscribe:
        return self._decode(self._subscribe, data)

    def relay_to_consumer(self, data: bytes | str) -> frames.RelayToConsumer:
        frame: frames.RelayToConsumer = self._decode(self._to_consumer, data)
        if isinstance(frame, frames.FactBatch):
            facts = tuple(
                frames.WireFact(f.offset, f.seq, msgspec.Raw(_packed(f.event))) for f in frame.facts
            )
            return msgspec.structs.replace(frame, facts=facts)
        if isinstance(frame, frames.Snapshot) and frame.spans is not None:
            try:
                columns = _with_values(frame.spans.columns, codec.untag)
            except (AttributeError, TypeError, ValueError, RecursionError) as error:
                raise RemoteProtocolError(f"not columns of spans: {error}", code=1007) from None
            return msgspec.structs.replace(frame, spans=Columns(frame.spans.count, columns))
        return frame

    def _decode(self, decoder: msgspec.json.Decoder[Any], data: bytes | str) -> Any:
        guards.check_json(data)
        try:
            return decoder.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise RemoteProtocolError(
                f"not a frame of lumina.v1.json: {error}", code=1007
            ) from None


def _packed(raw: msgspec.Raw) -> bytes:
    """Return a JSON event in MessagePack; nil for one that is none, which keeps its place and is refused."""
    try:
        return _repack(codec.decode_json(bytes(raw)))
    except DecodeError:
        return b"\xc0"


def _repack(event: Event) -> bytes:
    if isinstance(event, UnknownEvent):
        return event.raw
    try:
        return codec.encode(event)
    except (OverflowError, RecursionError) as error:  # JSON has no largest integer
        raise DecodeError(f"not a valid event: {error}") from None


def _facts_as_json(facts: tuple[frames.WireFact, ...]) -> Iterator[frames.WireFact]:
    for fact in facts:
        try:
            event = codec.encode_json(codec.decode(fact.event))
        except DecodeError:
            continue  # stored, but of no use to a JSON peer: it must not cost it the others
        yield frames.WireFact(fact.offset, fact.seq, msgspec.Raw(event))


_VALUES, _EVENTS, _LINKS = (
    SpanRecord.__struct_fields__.index(name) for name in ("values", "events", "links")
)


def _with_values(columns: Sequence[list[Any]], turn: Callable[[Any], Any]) -> tuple[list[Any], ...]:
    """Return the columns with every attribute value turned, and nothing else: times stay numbers."""
    turned = list(columns)
    if len(turned) <= max(_VALUES, _EVENTS, _LINKS):
        return tuple(turned)
    turned[_VALUES] = [
        values and {key: [turn(value), *rest] for key, (value, *rest) in values.items()}
        for values in turned[_VALUES]
    ]
    turned[_EVENTS] = [
        [[stamp, name, turn(attributes), *rest] for stamp, name, attributes, *rest in events]
        for events in turned[_EVENTS]
    ]
    turned[_LINKS] = [
        [
            [stamp, index, {**link, "attributes": turn(link.get("attributes", {}))}]
            for stamp, index, link in links
        ]
        for links in turned[_LINKS]
    ]
    return tuple(turned)


BINARY: Wire = _Binary()
JSON: Wire = _Json()


def wire_for(subprotocol: str | None) -> Wire:
    """Return the encoding of a negotiated subprotocol; binary if none was asked for."""
    return JSON if subprotocol == SUBPROTOCOL_JSON else BINARY
