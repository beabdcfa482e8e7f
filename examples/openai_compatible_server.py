"""A small server that speaks OpenAI's chat completions, so that the examples need no account.

It is an extractive stand-in, NOT a language model. It writes nothing of its own:

- with numbered passages in the prompt, it answers with sentences copied from them, chosen by
  how much of the question they cover;
- without passages, it splits the question into search queries;
- with tools, it takes them by a plain keyword rule (see `stand_in_tools.py`).

Its "tokens" are words, its pace is a configured delay, and it takes any model name and gives the
same answers under each; `Pace` says which names fail. What is real is the interface: any OpenAI
client can talk to it, streaming included. Put a real endpoint in its place and the calling code
stays as it is.

    python examples/openai_compatible_server.py            # prints its address, runs until Ctrl-C
"""

from __future__ import annotations

import json
import re
import socket
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from math import fsum, log
from typing import Any

import anyio
import uvicorn
from anyio.from_thread import start_blocking_portal
from rag_retrieval import terms_of
from stand_in_tools import Call, choose_call, tool_results
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

MODEL = "extractive-1"
DEFAULT_MAX_TOKENS = 220
MAX_QUERIES = 3
WORTH_SAYING = 0.5  # A sentence with less than this share of the best one's merit is left out.
DANGLING = ("It ", "Its ", "This ", "That ", "These ", "They ", "Another ")


@dataclass
class Pace:
    """How slow the server plays, which of its requests it refuses once, and which models fail."""

    first_token_s: float = 0.45
    between_tokens_s: float = 0.018
    refuse: frozenset[int] = frozenset()
    down: frozenset[str] = frozenset()
    """Models whose requests are all refused."""
    hung: frozenset[str] = frozenset()
    """Models that never answer: what the caller does then is its own timeout."""
    requests_seen: int = field(default=0, init=False)

    def refuses_next(self) -> bool:
        self.requests_seen += 1
        return self.requests_seen in self.refuse


def create_app(pace: Pace) -> Starlette:
    async def chat_completions(request: Request) -> Response:
        body = await request.json()
        model = body.get("model", MODEL)
        if model in pace.hung:
            await request.receive()  # The body is read: next comes that the caller has hung up.
        if pace.refuses_next() or model in pace.down:
            await anyio.sleep(pace.first_token_s / 2)
            return _error(503, "The server is overloaded, try again.", "overloaded")
        messages = body.get("messages", [])
        prompt = [message for message in messages if message["role"] == "user"]
        if not prompt:
            return _error(400, "The prompt has no user message.", "invalid_request_error")
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or DEFAULT_MAX_TOKENS
        question = prompt[-1]["content"]
        call = choose_call(body.get("tools") or [], messages, split_question(question))
        if call is None and body.get("tools"):
            question = "\n\n".join([*tool_results(messages), f"Question: {question}"])
        completion = _Completion(body, "" if call else reply_to(question, limit), call)
        await anyio.sleep(pace.first_token_s)
        if not body.get("stream"):
            return JSONResponse(completion.whole())
        with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
        chunks = completion.chunks(pace.between_tokens_s, with_usage)
        return StreamingResponse(chunks, media_type="text/event-stream")

    return Starlette(routes=[Route("/v1/chat/completions", chat_completions, methods=["POST"])])


@asynccontextmanager
async def serve_in_background(pace: Pace) -> AsyncIterator[str]:
    """Run the server as a task of the calling loop and yield its base URL."""
    with _listening_socket() as listener:
        port = listener.getsockname()[1]
        config = uvicorn.Config(create_app(pace), log_level="warning", lifespan="off")
        server = _QuietServer(config)
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, [listener])
            # uvicorn offers a flag and no event to wait for.
            while not server.started:  # noqa: ASYNC110
                await anyio.sleep(0.01)
            try:
                yield f"http://127.0.0.1:{port}/v1"
            finally:
                server.should_exit = True


@contextmanager
def serve_in_thread(pace: Pace) -> Iterator[str]:
    """Run the server in a thread of its own, for programs without a loop, and yield its base URL."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serve_in_background(pace)) as base_url,
    ):
        yield base_url


def reply_to(prompt: str, limit: int) -> str:
    """Answer from the numbered passages, or without any split the question into queries."""
    question = _after_label(prompt, "Question:")
    passages = _numbered_passages(prompt)
    if passages:
        return _extract(question, passages, limit)
    return "\n".join(split_question(question)[:MAX_QUERIES])


def split_question(question: str) -> list[str]:
    """Cut at the joints of a question; parts without a subject of their own are dropped."""
    joints = r"[,;?]\s*(?:and\s+)?|\s+and\s+(?=(?:who|what|when|where|which|why|how)\b)"
    parts = [part.strip() for part in re.split(joints, question)]
    return [part for part in parts if terms_of(part)] or [question]


@dataclass(frozen=True)
class _Sentence:
    position: int
    passage: int
    text: str
    terms: frozenset[str]
    heading: frozenset[str]


def _extract(question: str, passages: dict[int, tuple[str, str]], limit: int) -> str:
    sentences = list(_sentences_of(passages))
    chosen: list[_Sentence] = []
    words = 0
    for sentence in _by_merit(question, sentences):
        length = len(sentence.text.split())
        if words + length <= limit:
            chosen.append(sentence)
            words += length
        elif chosen:
            break
    if not chosen:
        return "The passages do not answer this question."
    chosen.sort(key=lambda sentence: sentence.position)
    return " ".join(f"{sentence.text} [{sentence.passage}]" for sentence in chosen)


def _by_merit(question: str, sentences: Sequence[_Sentence]) -> Iterator[_Sentence]:
    """Yield sentences best first, taking the parts of the question in turn."""
    counts = Counter(term for sentence in sentences for term in sentence.terms)
    weights = {term: log(1 + len(sentences) / count) for term, count in counts.items()}
    parts = [frozenset(terms_of(part)) for part in split_question(question)]
    whole = frozenset(terms_of(question))
    left = list(sentences)
    said: frozenset[str] = frozenset()
    strongest = [0.0] * len(parts)
    for turn in range(len(sentences)):
        part = parts[turn % len(parts)]

        def merit(
            sentence: _Sentence, part: frozenset[str] = part, said: frozenset[str] = said
        ) -> float:
            # fsum does not depend on the order of the sets, so that ties fall alike in every run.
            on_part = fsum(weights[term] for term in sentence.terms & part)
            on_whole = fsum(weights[term] for term in sentence.terms & whole)
            headed = fsum(weights.get(term, 0) for term in sentence.heading & part)
            repeated = len(sentence.terms & said) / len(sentence.terms)
            length = 1 + len(sentence.terms) / 20
            # Out of its paragraph, a sentence that begins with a pronoun has lost its subject.
            whole_alone = 0.5 if sentence.text.startswith(DANGLING) else 1.0
            value = on_part + 0.3 * on_whole + 0.4 * headed if on_part else 0.0
            return whole_alone * value * (1 - repeated**2) / length

        best = max(left, key=merit)
        strongest[turn % len(parts)] = max(strongest[turn % len(parts)], merit(best))
        if merit(best) <= 0:
            return
        if merit(best) < WORTH_SAYING * strongest[turn % len(parts)]:
            continue
        left.remove(best)
        said |= best.terms
        yield best


def _sentences_of(passages: dict[int, tuple[str, str]]) -> Iterator[_Sentence]:
    position = 0
    for number, (heading, text) in passages.items():
        heading_terms = frozenset(terms_of(heading))
        prose = re.sub(r"```.*?```|^\|.*$", "", text, flags=re.DOTALL | re.MULTILINE)
        for paragraph in re.split(r"\n\s*\n", prose):
            for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(paragraph.split())):
                terms = frozenset(terms_of(sentence))
                if len(terms) >= 4 and sentence.endswith("."):
                    yield _Sentence(position, number, sentence, terms, heading_terms)
                    position += 1


def _numbered_passages(prompt: str) -> dict[int, tuple[str, str]]:
    passage = re.compile(
        r"^\[(\d+)\] ([^\n]*)\n(.*?)(?=^\[\d+\] |^Question:|\Z)", re.DOTALL | re.MULTILINE
    )
    return {int(number): (heading, text) for number, heading, text in passage.findall(prompt)}


def _after_label(prompt: str, label: str) -> str:
    return prompt.rpartition(label)[2].strip()


class _Completion:
    """One answer in the two shapes that the interface knows."""

    def __init__(self, request: dict[str, Any], text: str, call: Call | None = None) -> None:
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._model = request.get("model", MODEL)
        self._text = text
        self._calls = [call.as_tool_call()] if call else []
        self._finish_reason = "tool_calls" if call else "stop"
        prompt = " ".join(str(message.get("content") or "") for message in request["messages"])
        said = text or json.dumps(self._calls)
        counts = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(said.split())}
        self._usage = {**counts, "total_tokens": sum(counts.values())}

    def whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self._text or None}
        if self._calls:
            message["tool_calls"] = self._calls
        choice = {"index": 0, "message": message, "finish_reason": self._finish_reason}
        return self._object("chat.completion", [choice]) | {"usage": self._usage}

    async def chunks(self, pause_s: float, with_usage: bool) -> AsyncIterator[str]:
        for piece in re.findall(r"\S+\s*", self._text):
            yield self._event([{"index": 0, "delta": {"content": piece}, "finish_reason": None}])
            await anyio.sleep(pause_s)
        for number, call in enumerate(self._calls):
            delta = {"tool_calls": [{"index": number, **call}]}
            yield self._event([{"index": 0, "delta": delta, "finish_reason": None}])
        yield self._event([{"index": 0, "delta": {}, "finish_reason": self._finish_reason}])
        if with_usage:
            yield self._event([], usage=self._usage)
        yield "data: [DONE]\n\n"

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> str:
        return f"data: {json.dumps(self._object('chat.completion.chunk', choices) | more)}\n\n"

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        head = {"id": self._id, "object": kind, "created": self._created, "model": self._model}
        return head | {"choices": choices}


class _QuietServer(uvicorn.Server):
    """A server that leaves the signals to the program it runs in."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listening_socket() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    return listener


def _error(status: int, message: str, code: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message, "type": code, "code": code}}, status)


async def main() -> None:
    async with serve_in_background(Pace()) as base_url:
        print(f"An extractive stand-in, not a language model, answers at {base_url}")
        await anyio.sleep_forever()


if __name__ == "__main__":
    try:
        anyio.run(main)
    except KeyboardInterrupt:
        pass
