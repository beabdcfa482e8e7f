"""A simulated RAG pipeline to look at: it sleeps where a real one would wait. `lumina-stream demo` runs it.

Every name, time and answer in it is made up; only the tracing is real.
"""

import asyncio
import random

import lumina_stream as lumina

ANSWER = (
    "Dense retrieval embeds the question and the documents into one space, so that near means "
    "related; BM25 counts the words they share. Fusing both ranks finds what either one misses, "
    "and a reranker then reads the few that are left more closely."
)
QUESTIONS = (
    "How do dense retrieval and BM25 complement each other?",
    "When does prompt caching pay off?",
)


class RateLimited(Exception):
    """What the simulated rerank service says at first."""


async def main() -> None:
    """Answer the questions one after the other, the second while the first is still at it."""
    dice = random.Random(7)
    async with asyncio.TaskGroup() as tasks:
        for number, question in enumerate(QUESTIONS):
            tasks.create_task(answer(question, dice, streamed=number == 0))
            await asyncio.sleep(1.6)


async def answer(question: str, dice: random.Random, *, streamed: bool) -> None:
    """Go through one request."""
    async with lumina.trace(
        "rag_request",
        kind="agent",
        root=True,
        attributes={"user_query": question, "simulated": True},
    ) as request:
        async with lumina.trace(
            "rewrite_query", kind="llm", attributes={"gen_ai.request.model": "simulated-small"}
        ) as call:
            await asyncio.sleep(0.5)
            call.set_attributes(
                {"gen_ai.usage.input_tokens": 212, "gen_ai.usage.output_tokens": 24}
            )
        async with lumina.trace("retrieve", kind="retrieval", attributes={"top_k": 8}) as found:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(search("bm25_search", 0.35))
                tasks.create_task(dense_search(dice))
                tasks.create_task(search("web_search", 3.4))
            found.set_attribute("documents", 8)
        request.add_event("documents retrieved", count=8)
        await rerank()
        await synthesize(streamed=streamed)


async def search(name: str, seconds: float) -> None:
    """Pretend to search; the web is the slow one."""
    async with lumina.trace(name, kind="tool") as span:
        await asyncio.sleep(seconds)
        span.set_attribute("hits", 4)


async def dense_search(dice: random.Random) -> None:
    """Embed the query's variants, then look them up: many short spans of one name."""
    async with lumina.trace("dense_search", kind="db"):
        async with asyncio.TaskGroup() as tasks:
            for _ in range(24):
                tasks.create_task(embed(dice.uniform(0.2, 1.8)))
        await asyncio.sleep(0.2)


async def embed(seconds: float) -> None:
    """Pretend to embed one passage."""
    async with lumina.trace("embed", kind="embedding"):
        await asyncio.sleep(seconds)


async def rerank() -> None:
    """Fail once, wait, and succeed: a retry as it looks in a trace."""
    for attempt in (1, 2):
        try:
            async with lumina.trace("rerank", attributes={"attempt": attempt}):
                await asyncio.sleep(0.3)
                if attempt == 1:
                    raise RateLimited("429 Too Many Requests, retry after 0.4 s (simulated)")
        except RateLimited:
            await asyncio.sleep(0.4)


async def synthesize(*, streamed: bool) -> None:
    """Write the answer, word by word."""
    async with lumina.trace(
        "synthesize", kind="llm", attributes={"gen_ai.request.model": "simulated-large"}
    ) as call:
        words = ANSWER.split()
        for number, word in enumerate(words):
            if streamed and number % 6 == 0:
                call.add_event("words", so_far=number, latest=word)
            await asyncio.sleep(0.05)
        call.set_attributes({"gen_ai.usage.input_tokens": 3120, "gen_ai.usage.output_tokens": 58})


if __name__ == "__main__":
    asyncio.run(main())
