"""Multi-hop: the first search finds the words that the second one needs.

    lumina-stream run -- python examples/guides/multi_hop.py

Each hop is a span with its number: a second hop that finds nothing new is money spent for nothing,
and the trace shows it.
"""

import anyio
from handbook import MODEL, QUICK, Chunk, load_index, prompt, serve
from openai import AsyncOpenAI
from rag_retrieval import ChunkIndex

import lumina_stream as lumina

QUESTION = "What does the user see while the circuit breaker is open?"
TOP_K = 3
TERMS = 3


async def ask(client: AsyncOpenAI, name: str, question: str, chunks: list[Chunk]) -> str:
    create = lumina.trace_llm(name)(client.chat.completions.create)
    completion = await create(model=MODEL, messages=prompt(question, chunks), max_tokens=70)
    return completion.choices[0].message.content or ""


async def answer(client: AsyncOpenAI, index: ChunkIndex, question: str) -> str:
    query = question
    known: dict[str, Chunk] = {}
    async with lumina.trace("multi_hop", kind="task", user_query=question):
        for number in (1, 2):
            async with lumina.trace("hop", kind="task", number=number, query=query) as hop:
                with lumina.trace("retrieval", kind="retrieval", attributes={"db.top_k": TOP_K}):
                    found = [hit.chunk for hit in index.search(query, TOP_K)]
                new = [chunk for chunk in found if chunk.chunk_id not in known]
                hop.set_attribute("new_chunks", [chunk.chunk_id for chunk in new])
                known |= {chunk.chunk_id: chunk for chunk in new}
                if number == 2:
                    break
                note = await ask(client, "read_passages", query, found)
                # The documents name what the question could not: the next query takes it up.
                leads = index.refinement_terms(question, [note], TERMS)
                hop.add_event("query refined", terms=leads)
                query = f"{question} {' '.join(leads)}"
        return await ask(client, "synthesis", question, list(known.values()))


async def main() -> None:
    lumina.init(service_name="multi-hop")
    async with (
        serve(QUICK) as base_url,
        AsyncOpenAI(base_url=base_url, api_key="unused") as client,
    ):
        print("Question:", QUESTION)
        print(await answer(client, load_index(), QUESTION))


if __name__ == "__main__":
    anyio.run(main)
