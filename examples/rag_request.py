"""The guide's example: one request, a retrieval below it, a synthesis after it.

    lumina-stream serve                # terminal 1
    lumina-stream tail                 # terminal 2
    python examples/rag_request.py     # terminal 3

The retrieval counts shared words and the synthesis quotes: put your own in their place. Where a
model is called, `lumina.trace_llm` belongs around it: `guides/simple_rag.py` has that.
"""

import anyio

import lumina_stream as lumina

PASSAGES = [
    "A live tracer sends the start of a span when it starts.",
    "An exporter that waits for the end cannot show a hung call.",
    "A hung call holds its permit until somebody notices.",
    "Chunks should answer one question without their neighbours.",
]
TOP_K = 2


async def retrieve(query: str) -> list[str]:
    await anyio.sleep(0.3)  # A database would take its time here.
    words = set(query.lower().split())
    ranked = sorted(PASSAGES, key=lambda text: -len(words & set(text.lower().rstrip(".").split())))
    return ranked[:TOP_K]


async def synthesize(documents: list[str]) -> str:
    await anyio.sleep(0.5)
    return " ".join(documents)


async def answer(query: str) -> str:
    async with lumina.trace("rag_request", user_query=query) as span:
        span.set_attribute("rag_version", "1.1")

        async with lumina.trace(
            "retrieval", kind="retrieval", attributes={"db.top_k": TOP_K}
        ) as retrieval:
            documents = await retrieve(query)
            retrieval.set_attribute("db.results_count", len(documents))

        span.add_event("documents retrieved", count=len(documents))

        async with lumina.trace("synthesis", kind="task"):
            return await synthesize(documents)


async def main() -> None:
    print(await answer("Who can show a hung call"))


if __name__ == "__main__":
    lumina.init(service_name="rag-request")
    anyio.run(main)
