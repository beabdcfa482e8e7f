"""Re-ranking: fetch many candidates cheaply, look at each one closely, keep a few.

    lumina-stream run -- python examples/guides/reranking.py

The re-ranker here weighs coverage, proximity and headings (`../rag_retrieval.py`); a cross-encoder
or a provider's endpoint has the same span. What it moved is what one wants to see of it.
"""

import anyio
from handbook import MODEL, QUICK, load_index, prompt, serve
from openai import AsyncOpenAI
from rag_retrieval import ChunkIndex, ScoredChunk, rerank

import lumina_stream as lumina

QUESTION = "When is the on-call engineer paged about cost?"
CANDIDATES = 24
KEPT = 4


def choose(index: ChunkIndex, question: str) -> list[ScoredChunk]:
    with lumina.trace("retrieval", kind="retrieval", attributes={"db.top_k": CANDIDATES}) as span:
        candidates = index.search(question, CANDIDATES)
        span.set_attribute("db.results_count", len(candidates))
    with lumina.trace("rerank", kind="rerank", candidates=len(candidates)) as span:
        kept = rerank(index, [question], candidates, KEPT)
        before = {hit.chunk.chunk_id: rank for rank, hit in enumerate(candidates, start=1)}
        span.set_attribute("kept", [hit.chunk.chunk_id for hit in kept])
        # 1, 2, 3, 4 in every trace means that the re-ranker earns nothing.
        span.set_attribute("ranks_before", [before[hit.chunk.chunk_id] for hit in kept])
        return kept


async def answer(client: AsyncOpenAI, index: ChunkIndex, question: str) -> str:
    async with lumina.trace("rag_request", kind="task", user_query=question):
        kept = choose(index, question)
        for hit in kept:
            print(f"  {hit.score:.2f}  {hit.chunk.heading}")
        messages = prompt(question, [hit.chunk for hit in kept])
        create = lumina.trace_llm("synthesis")(client.chat.completions.create)
        completion = await create(model=MODEL, messages=messages, max_tokens=80)
        return completion.choices[0].message.content or ""


async def main() -> None:
    lumina.init(service_name="reranking")
    async with (
        serve(QUICK) as base_url,
        AsyncOpenAI(base_url=base_url, api_key="unused") as client,
    ):
        print("Question:", QUESTION)
        print(await answer(client, load_index(), QUESTION))


if __name__ == "__main__":
    anyio.run(main)
