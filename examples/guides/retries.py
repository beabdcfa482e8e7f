"""Retries: one span for the call, one below it for each attempt.

    lumina-stream run -- python examples/guides/retries.py

The stand-in refuses the first two requests. The client's own retries are off: they would hide the
attempts, and two layers of retries multiply.
"""

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import openai
from handbook import MODEL, Pace, load_index, prompt, serve
from openai import AsyncOpenAI

import lumina_stream as lumina

T = TypeVar("T")

QUESTION = "Which errors may be retried?"
PACE = Pace(0.05, 0.002, refuse=frozenset({1, 2}))
MAX_ATTEMPTS = 4
BACKOFF_S = 0.1


async def with_retries(call: Callable[[], Awaitable[T]]) -> T:
    for number in range(1, MAX_ATTEMPTS + 1):
        try:
            async with lumina.trace("attempt", kind="http", number=number):
                return await call()
        except (openai.APIConnectionError, openai.InternalServerError) as error:
            if number == MAX_ATTEMPTS:
                raise
            # Full jitter: clients that failed together must not come back together.
            wait_s = random.uniform(0, BACKOFF_S * 2 ** (number - 1))
            lumina.current_span().add_event("retry scheduled", wait_s=wait_s)
            print(f"  attempt {number}: {type(error).__name__}, again in {wait_s:.2f} s")
            await anyio.sleep(wait_s)
    raise AssertionError("the loop returns or raises")


async def main() -> None:
    lumina.init(service_name="retries")
    async with (
        serve(PACE) as base_url,
        AsyncOpenAI(base_url=base_url, api_key="unused", max_retries=0) as client,
    ):
        print("Question:", QUESTION)
        messages = prompt(QUESTION, [hit.chunk for hit in load_index().search(QUESTION, 4)])
        async with lumina.trace_llm("synthesis") as span:
            request = {"model": MODEL, "messages": messages, "max_tokens": 80}
            span.record_request(request)
            completion = await with_retries(lambda: client.chat.completions.create(**request))
            # Only the answer has tokens: a refused attempt is not paid for.
            span.record(completion)
        print(completion.choices[0].message.content)


if __name__ == "__main__":
    anyio.run(main)
