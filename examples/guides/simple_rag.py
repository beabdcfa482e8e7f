"""Simple RAG: search, then let the model answer from what was found. One span for each step.

    lumina-stream run -- python examples/guides/simple_rag.py

The client is the synchronous one: nothing in here needs a loop.
"""

from handbook import MODEL, QUICK, Chunk, load_index, prompt, serve_in_thread
from openai import OpenAI
from rag_retrieval import ChunkIndex

import lumina_stream as lumina

QUESTION = "What is full jitter?"
TOP_K = 3


class Rag:
    def __init__(self, client: OpenAI, index: ChunkIndex) -> None:
        self._client = client
        self._index = index

    @lumina.trace("rag_request", kind="task", capture=True)
    def answer(self, question: str) -> str:
        return self.synthesize(question, self.retrieve(question))

    def retrieve(self, question: str) -> list[Chunk]:
        with lumina.trace("retrieval", kind="retrieval", attributes={"db.top_k": TOP_K}) as span:
            found = self._index.search(question, TOP_K)
            span.set_attribute("db.results_count", len(found))
            # Ids and scores are enough to see a bad retrieval; the texts are in the prompt.
            span.set_attribute("found", {hit.chunk.chunk_id: hit.score for hit in found})
            return [hit.chunk for hit in found]

    def synthesize(self, question: str, chunks: list[Chunk]) -> str:
        # Around any method of any client: its keywords are the request, its result the answer.
        create = lumina.trace_llm("synthesis")(self._client.chat.completions.create)
        completion = create(model=MODEL, messages=prompt(question, chunks), max_tokens=50)
        return completion.choices[0].message.content or ""


def main() -> None:
    lumina.init(service_name="simple-rag")
    with serve_in_thread(QUICK) as base_url, OpenAI(base_url=base_url, api_key="unused") as client:
        print("Question:", QUESTION)
        print(Rag(client, load_index()).answer(QUESTION))


if __name__ == "__main__":
    main()
