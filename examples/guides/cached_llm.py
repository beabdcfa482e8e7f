"""Cached LLM calls: the same request twice is paid once. A hit has no model span, hence no tokens.

    lumina-stream run -- python examples/guides/cached_llm.py

The cache is a dictionary; Redis or a table would have the same spans.
"""

import hashlib
import json
from typing import Any

import anyio
from handbook import MODEL, QUICK, load_index, prompt, serve
from openai import AsyncOpenAI

import lumina_stream as lumina

QUESTIONS = ["What is full jitter?", "Who pays for a cached prefix?", "What is full jitter?"]


class CachedModel:
    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client
        self._answers: dict[str, str] = {}

    async def complete(self, **request: Any) -> str:
        async with lumina.trace("cached_completion", kind="cache") as span:
            # All that decides the answer belongs into the key: model, messages, parameters.
            key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()[:16]
            answer = self._answers.get(key)
            span.set_attributes({"cache.key": key, "cache.hit": answer is not None})
            if answer is None:
                create = lumina.trace_llm("completion")(self._client.chat.completions.create)
                completion = await create(**request)
                answer = self._answers[key] = completion.choices[0].message.content or ""
            return answer


async def main() -> None:
    lumina.init(service_name="cached-llm")
    index = load_index()
    async with (
        serve(QUICK) as base_url,
        AsyncOpenAI(base_url=base_url, api_key="unused") as client,
        lumina.trace("conversation", kind="task", questions=len(QUESTIONS)),
    ):
        model = CachedModel(client)
        for question in QUESTIONS:
            with lumina.trace("retrieval", kind="retrieval"):
                chunks = [hit.chunk for hit in index.search(question, 3)]
            print("Question:", question)
            print(
                await model.complete(model=MODEL, messages=prompt(question, chunks), max_tokens=50)
            )


if __name__ == "__main__":
    anyio.run(main)
