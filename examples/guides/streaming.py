"""Streaming: the answer is in the trace while it is written, with its time to the first piece.

    lumina-stream tail                           # terminal 1, to watch it
    python examples/guides/streaming.py          # terminal 2

The second stream is left early, as when a user closes the page: its span ends then, as cancelled.
"""

import time

import anyio
from handbook import MODEL, Pace, load_index, prompt, serve
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam

import lumina_stream as lumina

QUESTIONS = ["Why stream an answer?", "What is a tool loop?"]
PACE = Pace(first_token_s=0.3, between_tokens_s=0.01)
ENOUGH_PIECES = 12


async def stream_answer(
    client: AsyncOpenAI, messages: list[ChatCompletionMessageParam], most_pieces: int | None
) -> None:
    started = time.perf_counter()
    create = lumina.trace_llm("synthesis")(client.chat.completions.create)
    stream = await create(
        model=MODEL,
        messages=messages,
        max_tokens=70,
        stream=True,
        # Without it OpenAI's API streams no usage, and the span can have none.
        stream_options={"include_usage": True},
    )
    pieces = 0
    async with stream:  # The span ends with the stream, not with the call.
        async for chunk in stream:
            for choice in chunk.choices:
                if not pieces and choice.delta.content:
                    print(f"[{time.perf_counter() - started:.2f} s] ", end="")
                pieces += bool(choice.delta.content)
                print(choice.delta.content or "", end="", flush=True)
            if pieces == most_pieces:
                print("... (left early)", end="")
                break
    print()


async def main() -> None:
    lumina.init(service_name="streaming")
    index = load_index()
    async with (
        serve(PACE) as base_url,
        AsyncOpenAI(base_url=base_url, api_key="unused") as client,
        lumina.trace("conversation", kind="task"),
    ):
        for question, most_pieces in zip(QUESTIONS, (None, ENOUGH_PIECES), strict=True):
            print("Question:", question)
            messages = prompt(question, [hit.chunk for hit in index.search(question, 4)])
            await stream_answer(client, messages, most_pieces)


if __name__ == "__main__":
    anyio.run(main)
