"""What does recording an answer cost, and each piece of a stream, beside the client's own objects?

Answers and pieces are the installed clients' own classes, made beforehand; streams are the clients'
own too, over pieces that are there already, so that what is measured is passing them on and nothing
of the network. `made` is what the client spends on making one such object of its decoded JSON. The
variants take turns within each round, so that a busy moment of the machine meets them all alike.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import lumina_stream as lumina
from lumina_stream.model.limits import EVENT_OVERHEAD
from lumina_stream.recording.context import active

ROUNDS, ANSWERS, PIECES, LONG = 41, 100, 200, 30_000
TEXT = "The capital of France is Paris."

WORDS = ("The ", "capital ", "of ", "France ", "is ", "Paris", ", ", "on ", "the ", "Seine. ")

COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": TEXT,
                "refusal": None,
                "annotations": [],
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 24,
        "completion_tokens": 8,
        "total_tokens": 32,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    },
    "service_tier": "default",
    "system_fingerprint": "fp_1",
}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": TEXT}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 24,
        "output_tokens": 8,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "service_tier": "standard",
    },
}


def chat_chunks() -> Iterator[dict[str, Any]]:
    """A streamed chat completion: role, words, finish reason, usage."""

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        head = {key: COMPLETION[key] for key in ("id", "created", "model", "service_tier")}
        return {**head, "object": "chat.completion.chunk", "choices": [choice], **more}

    yield chunk({"role": "assistant", "content": "", "refusal": None})
    words = [chunk({"content": word}, usage=None) for word in WORDS]
    yield from (words[n % len(words)] for n in range(PIECES - 3))
    yield chunk({}, "stop")
    yield {**chunk({}), "choices": [], "usage": COMPLETION["usage"]}


def message_events() -> Iterator[dict[str, Any]]:
    """A streamed message."""
    yield {
        "type": "message_start",
        "message": {**MESSAGE, "content": [], "stop_reason": None},
    }
    yield {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "text", "text": ""},
    }
    words = [
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": word},
        }
        for word in WORDS
    ]
    yield from (words[n % len(words)] for n in range(PIECES - 5))
    yield {"type": "content_block_stop", "index": 0}
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": {"output_tokens": 8}}
    yield {"type": "message_stop"}


def gemini_chunk(text: str, **more: Any) -> dict[str, Any]:
    """A piece of a generate_content, or all of it: every piece says the usage."""
    content = {"parts": [{"text": text}], "role": "model"}
    return {
        "candidates": [{"content": content, "index": 0, **more}],
        "usageMetadata": {
            "promptTokenCount": 24,
            "candidatesTokenCount": 8,
            "totalTokenCount": 32,
        },
        "modelVersion": "gemini-2.5-flash",
        "responseId": "r-1",
    }


def gemini_chunks() -> Iterator[dict[str, Any]]:
    """A streamed generate_content."""
    words = [gemini_chunk(word) for word in WORDS]
    yield from (words[n % len(words)] for n in range(PIECES - 1))
    yield gemini_chunk("", finishReason="STOP")


def long(answer: dict[str, Any]) -> dict[str, Any]:
    """The same answer with a text of `LONG` characters."""
    return json.loads(json.dumps(answer).replace(TEXT, (TEXT + " ") * (LONG // (len(TEXT) + 1))))


# --- what the clients make of them ------------------------------------------------------------------


class Client:
    """One client library: how it makes answers and pieces, and its streams of pieces that are there."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.label = f"{name} {version({'google': 'google-genai'}.get(name, name))}"
        self.streams: dict[str, Callable[[Iterable[Any]], Any]] = {}
        self.answer: dict[str, Any]
        self.make: Callable[[Any], Any]
        getattr(self, f"_{name}")()

    def _openai(self) -> None:
        from openai import AsyncStream, Stream
        from openai.types.chat import ChatCompletion, ChatCompletionChunk

        self.answer, self.make = COMPLETION, ChatCompletion.model_validate
        self.pieces, self.make_piece = list(chat_chunks()), ChatCompletionChunk.model_validate
        self._of_stainless(Stream, AsyncStream)

    def _anthropic(self) -> None:
        from anthropic import AsyncStream, Stream
        from anthropic.types import Message, RawMessageStreamEvent
        from pydantic import TypeAdapter

        self.answer, self.make = MESSAGE, Message.model_validate
        self.pieces = list(message_events())
        self.make_piece = TypeAdapter(RawMessageStreamEvent).validate_python
        self._of_stainless(Stream, AsyncStream)

    def _google(self) -> None:
        from google.genai.types import GenerateContentResponse

        self.answer, self.make = (
            gemini_chunk(TEXT, finishReason="STOP"),
            GenerateContentResponse.model_validate,
        )
        self.pieces, self.make_piece = list(gemini_chunks()), self.make
        self.streams = {"sync": forward, "async": forward_async}

    def _of_stainless(self, sync: type, asynchronous: type) -> None:
        """Both libraries come out of the same generator, and so do their streams."""

        def ready(kind: type, pieces: Any) -> Any:
            stream: Any = object.__new__(kind)
            stream.response, stream._iterator = None, pieces
            return stream

        self.streams = {
            "sync": lambda pieces: ready(sync, forward(pieces)),
            "async": lambda pieces: ready(asynchronous, forward_async(pieces)),
        }


def forward(pieces: Iterable[Any]) -> Iterator[Any]:
    """Give the pieces as a client's own generator does."""
    yield from pieces


async def forward_async(pieces: Iterable[Any]) -> AsyncIterator[Any]:
    """Give the pieces as a client's own generator does that never has to wait."""
    for piece in pieces:
        yield piece


def clients() -> list[Client]:
    """Return those that are installed."""
    found: list[Client] = []
    for name in ("openai", "anthropic", "google"):
        try:
            found.append(Client(name))
        except (ImportError, PackageNotFoundError):
            print(f"{name}: not installed")
    return found


# --- measuring --------------------------------------------------------------------------------------


def settle() -> None:
    """Take out what was recorded, as the exporter does, outside of what is timed."""
    queue = active.recorder.queue  # type: ignore[union-attr]
    taken = queue.drain(1_000_000)
    queue.release(0, sum(map(len, taken)) + EVENT_OVERHEAD * len(taken))


def measure(work: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Return the microseconds that each says of itself, one figure a round."""
    figures: dict[str, list[float]] = {name: [] for name in work}
    for number in range(ROUNDS + 2):
        for name, once in work.items():
            gc.collect(0)
            figure = once()
            settle()
            if number >= 2:
                figures[name].append(figure)
    return figures


def per_call(count: int, call: Callable[[], Any]) -> Callable[[], float]:
    """Return what measures one of `count` calls, in microseconds."""

    def once() -> float:
        before = time.thread_time_ns()
        for _ in range(count):
            call()
        return (time.thread_time_ns() - before) / count / 1e3

    return once


def per_piece(stream_of: Callable[[], Any], count: int, recorded: bool) -> Callable[[], float]:
    """Return what measures one piece of a sync stream, in microseconds."""

    def once() -> float:
        with lumina.trace_llm("call") as call:
            stream = stream_of()
            if recorded:
                stream = call.record(stream)
            before = time.thread_time_ns()
            for _ in stream:
                pass
            return (time.thread_time_ns() - before) / count / 1e3

    return once


def per_piece_async(
    loop: asyncio.AbstractEventLoop, stream_of: Callable[[], Any], count: int, recorded: bool
) -> Callable[[], float]:
    """Return what measures one piece of an async stream, in microseconds."""

    async def take() -> float:
        async with lumina.trace_llm("call") as call:
            stream = stream_of()
            if recorded:
                stream = call.record(stream)
            before = time.thread_time_ns()
            async for _ in stream:
                pass
            return (time.thread_time_ns() - before) / count / 1e3

    return lambda: loop.run_until_complete(take())


def line(name: str, bare: list[float], ours: list[float], made: list[float]) -> str:
    """Return a row: medians, the spread of what is added, and its share of making the object."""
    extra = [b - a for a, b in zip(bare, ours, strict=True)]
    quarters = statistics.quantiles(extra, n=4)
    middle, cost = statistics.median(extra), statistics.median(made)
    return (
        f"{name:36}{statistics.median(bare):8.2f}{statistics.median(ours):11.2f}{middle:9.2f}"
        f"   {quarters[0]:6.2f}..{quarters[2]:<6.2f}{cost:8.2f}{middle / cost:8.2f}"
    )


def heading(name: str, unit: str) -> str:
    """Return a table's first row."""
    return f"\n{name:36}{'bare':>8}{'recorded':>11}{'added':>9}   {'quartiles':>14}{'made':>8}{'ratio':>8}   ({unit})"


def answers(found: list[Client]) -> None:
    """Print what recording a whole answer adds to a traced call that records none."""
    print(heading("an answer", "us a call; bare: the span without its answer"))

    def traced(answer: Any) -> Callable[[], None]:
        def call() -> None:
            with lumina.trace_llm("call") as span:
                span.record(answer)

        return call

    def bare() -> None:
        with lumina.trace_llm("call"):
            pass

    for client in found:
        said, make = client.answer, client.make
        figures = measure(
            {
                "bare": per_call(ANSWERS, bare),
                "object": per_call(ANSWERS, traced(make(said))),
                "dictionary": per_call(ANSWERS, traced(said)),
                "object, 30,000 characters": per_call(ANSWERS, traced(make(long(said)))),
                "made": per_call(ANSWERS, lambda make=make, said=said: make(said)),
            }
        )
        for kind in ("object", "dictionary", "object, 30,000 characters"):
            row = line(f"{client.name}, {kind}", figures["bare"], figures[kind], figures["made"])
            print(row)


def streams(found: list[Client]) -> None:
    """Print what recording adds to a piece of a stream."""
    print(heading("a stream", "us a piece; all of the stream, its first and last piece included"))
    loop = asyncio.new_event_loop()
    for client in found:
        # Equal ones are one object: what a client has just made is in the processor's cache as well.
        made = {id(piece): client.make_piece(piece) for piece in client.pieces}
        ready = [made[id(piece)] for piece in client.pieces]
        first = client.pieces[PIECES // 2]
        for way, stream_of in client.streams.items():

            def made_of(pieces: list[Any] = ready, of: Any = stream_of) -> Any:
                return of(pieces)

            def once(recorded: bool, way: str = way, of: Any = made_of) -> Callable[[], float]:
                if way == "sync":
                    return per_piece(of, PIECES, recorded)
                return per_piece_async(loop, of, PIECES, recorded)

            figures = measure(
                {
                    "bare": once(False),
                    "ours": once(True),
                    "made": per_call(ANSWERS, lambda c=client, f=first: c.make_piece(f)),
                }
            )
            row = line(f"{client.name}, {way}", figures["bare"], figures["ours"], figures["made"])
            print(row)
    loop.close()


def main() -> None:
    """Print both tables."""
    found = clients()
    print(
        f"Python {sys.version.split()[0]}, lumina-stream {lumina.__version__}, "
        + ", ".join(client.label for client in found)
    )
    runtime = lumina.init("bench", export=False)
    runtime.queue.reading = True  # what is admitted is kept, as for an exporter
    answers(found)
    streams(found)
    print(f"\nevents refused during the run: {lumina.statistics().lost}")


if __name__ == "__main__":
    main()
