"""A fallback chain: the first model hangs, the second refuses, the third answers.

    lumina-stream run -- python examples/guides/fallback_chain.py

One span a model that was tried, so that the trace says who answered, and what the others cost in
time. The stand-in fails for two model names on purpose, and is the same behind all three.
"""

import anyio
import openai
from handbook import Pace, load_index, prompt, serve
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam

import lumina_stream as lumina

QUESTION = "How long does the circuit breaker stay open?"
MODELS = ["extractive-large", "extractive-medium", "extractive-small"]
PACE = Pace(0.05, 0.002, hung=frozenset({MODELS[0]}), down=frozenset({MODELS[1]}))
TIMEOUT_S = 0.4


class NobodyAnswered(Exception):
    """Every model of the chain has failed."""


async def complete(client: AsyncOpenAI, messages: list[ChatCompletionMessageParam]) -> str:
    async with lumina.trace("fallback_chain", kind="task", models=MODELS) as chain:
        for model in MODELS:
            try:
                # Without a name, the span is called by its operation and model.
                async with lumina.trace_llm(model=model) as span:
                    completion = await client.chat.completions.create(
                        model=model, messages=messages, max_tokens=80, timeout=TIMEOUT_S
                    )
                    span.record(completion)
            except (openai.APIConnectionError, openai.InternalServerError) as error:
                chain.add_event("fell back", model=model, reason=type(error).__name__)
                print(f"  {model}: {type(error).__name__}")
                continue
            chain.set_attribute("answered_by", completion.model)
            print(f"  {model}: answered")
            return completion.choices[0].message.content or ""
        raise NobodyAnswered(f"none of {', '.join(MODELS)} answered")


async def main() -> None:
    lumina.init(service_name="fallback-chain")
    async with (
        serve(PACE) as base_url,
        # A model that is to be replaced is not to be retried first.
        AsyncOpenAI(base_url=base_url, api_key="unused", max_retries=0) as client,
        lumina.trace("rag_request", kind="task", user_query=QUESTION),
    ):
        print("Question:", QUESTION)
        chunks = [hit.chunk for hit in load_index().search(QUESTION, 4)]
        print(await complete(client, prompt(QUESTION, chunks)))


if __name__ == "__main__":
    anyio.run(main)
