"""A RAG pipeline whose trace can be watched while it runs.

It answers questions from the handbook in `documents/`: it splits the question, runs the
sub-queries at the same time, reads, refines, searches a second time, re-ranks, looks the sources
up, and streams an answer through the `openai` client.

    lumina-stream serve                             # terminal 1
    lumina-stream tail                              # terminal 2
    python examples/rag_pipeline.py                 # terminal 3
    python examples/rag_pipeline.py "What is full jitter?" "Who pays for a cached prefix?"

What is real: the documents, the BM25 search, the fusion and re-ranking, the concurrency, the HTTP
calls and their retries. What is not: the "model" is `openai_compatible_server.py`, an extractive
stand-in that copies sentences and refuses one request, so that a retry can be seen; the
document store is a simulated slow look-up. Needs `openai`, `bm25s`, `starlette`, `uvicorn`.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import anyio
import openai
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam
from openai_compatible_server import MODEL, Pace, serve_in_background
from rag_retrieval import (
    Chunk,
    ChunkIndex,
    Document,
    ScoredChunk,
    fuse,
    load_document,
    rerank,
    split_into_chunks,
)

import lumina_stream as lumina
from lumina_stream.llm.span import LlmSpan

T = TypeVar("T")

DOCUMENTS = Path(__file__).parent / "documents"
DEFAULT_QUESTION = (
    "What happens when the retry policy gives up, what does the user see while the circuit breaker "
    "is open, and when is the on-call engineer paged?"
)

PROVIDER = "extractive-stand-in"
SEARCH_TOP_K = 12
CANDIDATES = 40
PROMPT_CHUNKS = 6
REFINEMENT_TERMS = 6
# The numbers that documents/timeouts-and-retries.md explains.
MAX_ATTEMPTS = 4
BACKOFF_S = 0.2
BACKOFF_CAP_S = 5.0
FIRST_TOKEN_TIMEOUT_S = 8.0
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
NOTE_WORDS = 60
ANSWER_WORDS = 190


@dataclass(frozen=True)
class Delays:
    """Where the example waits on purpose, so that the tree can be watched growing."""

    per_document_s: float = 0.02
    store_s: float = 0.3
    slow_store_s: float = 1.5


FAST = Delays(per_document_s=0, store_s=0.005, slow_store_s=0.02)


class RetriesExhausted(Exception):
    """The model did not answer within the attempts that the retry policy allows."""


@dataclass(frozen=True)
class Finding:
    """What one sub-query brought: its chunks, and what the model read in the best of them."""

    query: str
    results: list[ScoredChunk]
    note: str


@dataclass(frozen=True)
class Answer:
    text: str
    sources: list[Document]


class Model:
    """The calls to the model, each a span, each attempt of a call a span below it."""

    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    async def split(self, question: str) -> list[str]:
        async with lumina.trace_llm("split_question", provider=PROVIDER) as span:
            messages = _messages(
                "Split the question into at most three search queries, one a line.",
                f"Question: {question}",
            )
            reply = await self._complete(span, messages, max_tokens=60)
            queries = [line.strip() for line in reply.splitlines() if line.strip()]
            span.set_attribute("queries", queries)
            return queries

    async def read(self, query: str, chunks: Sequence[Chunk]) -> str:
        async with lumina.trace_llm("read_passages", provider=PROVIDER) as span:
            messages = _messages(
                "Copy what answers the question from the passages.", _prompt(query, chunks)
            )
            return await self._complete(span, messages, max_tokens=NOTE_WORDS)

    async def synthesize(self, question: str, chunks: Sequence[Chunk]) -> str:
        """Stream the answer, printing each piece as it arrives."""
        async with lumina.trace_llm("synthesis", provider=PROVIDER) as span:
            messages = _messages(
                "Answer the question from the passages only and cite them by number.",
                _prompt(question, chunks),
            )
            stream = span.record(
                await self._send(
                    span,
                    messages,
                    max_tokens=ANSWER_WORDS,
                    stream=True,
                    stream_options={"include_usage": True},
                )
            )
            pieces: list[str] = []
            async with stream:
                async for chunk in stream:
                    # The last chunk carries the usage and no choice.
                    for choice in chunk.choices:
                        pieces.append(choice.delta.content or "")
                        print(pieces[-1], end="", flush=True)
            print()
            return "".join(pieces)

    async def _complete(
        self, span: LlmSpan, messages: list[ChatCompletionMessageParam], max_tokens: int
    ) -> str:
        completion = span.record(await self._send(span, messages, max_tokens=max_tokens))
        return completion.choices[0].message.content or ""

    async def _send(
        self, span: LlmSpan, messages: list[ChatCompletionMessageParam], **parameters: Any
    ) -> Any:
        request = {"model": MODEL, "messages": messages, **parameters}
        span.record_request(request)
        return await _with_retries(lambda: self._client.chat.completions.create(**request))


class Pipeline:
    def __init__(self, model: Model, index: ChunkIndex, delays: Delays) -> None:
        self._model = model
        self._index = index
        self._delays = delays

    async def answer(self, question: str) -> Answer:
        async with lumina.trace("rag_request", kind="task", user_query=question) as span:
            queries = [question, *await self._model.split(question)]
            findings = await self._hop(1, queries)
            second = self._refine(question, queries, findings)
            if second:
                findings += await self._hop(2, second)
            chunks = await self._choose(question, findings)
            sources = await self._fetch_sources([result.chunk for result in chunks])
            span.add_event("sources fetched", count=len(sources))
            text = await self._model.synthesize(question, [result.chunk for result in chunks])
            return Answer(text, sources)

    async def _hop(self, number: int, queries: Sequence[str]) -> list[Finding]:
        """Run the sub-queries at the same time; what fails for good is left out."""
        findings: dict[int, Finding] = {}

        async def investigate(position: int, query: str) -> None:
            # Caught here, a failed sub-query does not cancel its siblings.
            try:
                findings[position] = await self._investigate(query)
            except RetriesExhausted:
                hop.add_event("sub-query failed", query=query)

        async with lumina.trace("hop", kind="task", number=number, queries=len(queries)) as hop:
            async with anyio.create_task_group() as group:
                for position, query in enumerate(queries):
                    group.start_soon(investigate, position, query)
            hop.set_attribute("findings", len(findings))
        return [findings[position] for position in sorted(findings)]

    async def _investigate(self, query: str) -> Finding:
        async with lumina.trace("sub_query", kind="task", query=query):
            with lumina.trace(
                "search", kind="retrieval", attributes={"db.top_k": SEARCH_TOP_K}
            ) as search:
                results = self._index.search(query, SEARCH_TOP_K)
                search.set_attribute("db.results_count", len(results))
                if results:
                    search.set_attribute("best_score", results[0].score)
            chunks = [result.chunk for result in results[:3]]
            return Finding(query, results, await self._model.read(query, chunks))

    def _refine(
        self, question: str, queries: Sequence[str], findings: Sequence[Finding]
    ) -> list[str]:
        """Turn what the first hop read into queries that the question could not name."""
        with lumina.trace("refine_queries", kind="task") as span:
            notes = [finding.note for finding in findings]
            terms = self._index.refinement_terms(question, notes, REFINEMENT_TERMS)
            span.set_attribute("terms_added", terms)
            parts = queries[1:] or queries
            return [f"{part} {' '.join(terms[:3])}" for part in parts[-2:]] if terms else []

    async def _choose(self, question: str, findings: Sequence[Finding]) -> list[ScoredChunk]:
        with lumina.trace("fusion", kind="task", lists=len(findings)) as span:
            fused = fuse(finding.results for finding in findings)[:CANDIDATES]
            span.set_attribute("candidates", len(fused))
        with lumina.trace("rerank", kind="rerank", candidates=len(fused)) as span:
            queries = list(dict.fromkeys([question, *(finding.query for finding in findings)]))
            chosen = rerank(self._index, queries, fused, PROMPT_CHUNKS)
            ranks = {result.chunk.chunk_id: rank for rank, result in enumerate(fused, start=1)}
            kept = [result.chunk.chunk_id for result in chosen]
            span.set_attributes({"kept": kept, "ranks_before": [ranks[name] for name in kept]})
            return chosen

    async def _fetch_sources(self, chunks: Sequence[Chunk]) -> list[Document]:
        """Look the cited documents up at the same time, in the order of the chunks."""
        names = list(dict.fromkeys(chunk.document for chunk in chunks))
        fetched: dict[str, Document] = {}

        async def fetch(name: str, delay_s: float) -> None:
            fetched[name] = await _look_up_document(name, delay_s)

        async with (
            lumina.trace("fetch_sources", kind="task", documents=len(names)),
            anyio.create_task_group() as group,
        ):
            for position, name in enumerate(names):
                slow = position == len(names) - 1
                delay_s = self._delays.slow_store_s if slow else self._delays.store_s
                group.start_soon(fetch, name, delay_s)
        return [fetched[name] for name in names]


@lumina.trace("look_up_document", kind="tool")
async def _look_up_document(name: str, delay_s: float) -> Document:
    """Read a document from a store that is simulated as slow: the delay is a sleep."""
    lumina.current_span().set_attribute("document", name)
    await anyio.sleep(delay_s)
    return load_document(DOCUMENTS / name)


async def prepare_index(delays: Delays) -> ChunkIndex:
    async with lumina.trace("prepare_index", kind="task"):
        documents: list[Document] = []
        async with lumina.trace("load_documents", kind="task") as span:
            for path in sorted(DOCUMENTS.glob("*.md")):
                documents.append(load_document(path))
                await anyio.sleep(delays.per_document_s)
            span.set_attribute("documents", len(documents))
        with lumina.trace("chunk_documents", kind="task") as span:
            chunks = [chunk for document in documents for chunk in split_into_chunks(document)]
            span.set_attribute("chunks", len(chunks))
        with lumina.trace("build_bm25_index", kind="task"):
            # NumPy work of some 50 ms: in a thread, so that the loop goes on.
            return await anyio.to_thread.run_sync(ChunkIndex, chunks)


async def _with_retries(call: Callable[[], Awaitable[T]]) -> T:
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            async with lumina.trace("attempt", kind="http", number=attempt):
                return await call()
        except (openai.APIConnectionError, openai.APIStatusError) as error:
            status = error.status_code if isinstance(error, openai.APIStatusError) else None
            if status is not None and status not in RETRIED_STATUSES:
                raise
            if attempt == MAX_ATTEMPTS:
                raise RetriesExhausted(f"gave up after {attempt} attempts: {error}") from error
        # Full jitter: clients that failed together must not come back together.
        wait_s = random.uniform(0, min(BACKOFF_CAP_S, BACKOFF_S * 2 ** (attempt - 1)))
        lumina.current_span().add_event("retry scheduled", wait_s=round(wait_s, 3))
        await anyio.sleep(wait_s)
    raise AssertionError("the loop returns or raises")


def _messages(instruction: str, prompt: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "system", "content": instruction}, {"role": "user", "content": prompt}]


def _prompt(question: str, chunks: Sequence[Chunk]) -> str:
    passages = [
        f"[{number}] {chunk.heading}\n{chunk.text}" for number, chunk in enumerate(chunks, start=1)
    ]
    return "\n\n".join([*passages, f"Question: {question}"])


def _print_sources(answer: Answer) -> None:
    print("\nSources:")
    for document in answer.sources:
        print(f"  documents/{document.name}: {document.title}")


async def run(questions: Sequence[str], fast: bool) -> None:
    delays = FAST if fast else Delays()
    # The fourth request is one of the parallel sub-queries.
    refuse = frozenset({4})
    pace = Pace(0.0, 0.0, refuse) if fast else Pace(refuse=refuse)
    print("The model is an extractive stand-in: it copies sentences, it does not write.")
    async with (
        serve_in_background(pace) as base_url,
        # The client's own retries are off: two layers of retries multiply.
        AsyncOpenAI(
            base_url=base_url, api_key="unused", max_retries=0, timeout=FIRST_TOKEN_TIMEOUT_S
        ) as client,
        lumina.trace("rag_demo", kind="task", questions=len(questions)),
    ):
        pipeline = Pipeline(Model(client), await prepare_index(delays), delays)
        for question in questions:
            print(f"\nQuestion: {question}\n")
            _print_sources(await pipeline.answer(question))


def main() -> None:
    parser = argparse.ArgumentParser(description="Answer questions from the handbook, traced live.")
    parser.add_argument("question", nargs="*", default=[DEFAULT_QUESTION])
    parser.add_argument("--fast", action="store_true", help="wait as little as possible")
    arguments = parser.parse_args()
    lumina.init(service_name="rag-demo")
    anyio.run(run, arguments.question, arguments.fast)


if __name__ == "__main__":
    main()
