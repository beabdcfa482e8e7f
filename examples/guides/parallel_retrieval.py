"""Parallel retrieval: ask several sources at the same time, and do not wait for the slow one.

    lumina-stream run -- python examples/guides/parallel_retrieval.py

Two sources search the handbook; the third is simulated as slow by a sleep, and its deadline passes.
Each is a span of its own, and the one that was given up says so.
"""

from collections.abc import Awaitable, Callable

import anyio
from handbook import MODEL, QUICK, load_index, prompt, serve
from openai import AsyncOpenAI
from rag_retrieval import ChunkIndex, ScoredChunk, fuse

import lumina_stream as lumina

QUESTION = "What does reciprocal rank fusion need?"
TOP_K = 6
DEADLINE_S = 0.4

Source = Callable[[str], Awaitable[list[ScoredChunk]]]


def sources_of(index: ChunkIndex) -> dict[str, Source]:
    async def passages(query: str) -> list[ScoredChunk]:
        await anyio.sleep(0.05)
        return index.search(query, TOP_K)

    async def titles(query: str) -> list[ScoredChunk]:
        await anyio.sleep(0.1)
        words = set(query.lower().rstrip("?").split())
        found = [
            ScoredChunk(chunk, len(words & set(chunk.heading.lower().split())))
            for chunk in index.chunks
        ]
        return sorted(found, key=lambda hit: -hit.score)[:TOP_K]

    async def archive(query: str) -> list[ScoredChunk]:
        await anyio.sleep(60)
        return []

    return {"passages": passages, "titles": titles, "archive": archive}


async def retrieve(sources: dict[str, Source], query: str) -> list[ScoredChunk]:
    lists: dict[str, list[ScoredChunk]] = {}

    async def search(name: str, source: Source) -> None:
        with anyio.move_on_after(DEADLINE_S):
            async with lumina.trace(name, kind="retrieval", deadline_s=DEADLINE_S) as span:
                lists[name] = await source(query)
                span.set_attribute("db.results_count", len(lists[name]))

    async with lumina.trace("parallel_retrieval", kind="task") as span:
        async with anyio.create_task_group() as group:
            for name, source in sources.items():
                group.start_soon(search, name, source)
        span.set_attribute("answered", sorted(lists))
        return fuse(lists.values())[:TOP_K]


async def main() -> None:
    lumina.init(service_name="parallel-retrieval")
    async with (
        serve(QUICK) as base_url,
        AsyncOpenAI(base_url=base_url, api_key="unused") as client,
        lumina.trace("rag_request", kind="task", user_query=QUESTION),
    ):
        found = await retrieve(sources_of(load_index()), QUESTION)
        messages = prompt(QUESTION, [hit.chunk for hit in found])
        create = lumina.trace_llm("synthesis")(client.chat.completions.create)
        completion = await create(model=MODEL, messages=messages, max_tokens=80)
        print("Question:", QUESTION)
        print(completion.choices[0].message.content)


if __name__ == "__main__":
    anyio.run(main)
