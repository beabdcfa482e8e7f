"""Cost per customer: one attribute around the request, and the relay adds up below it.

    lumina-stream serve --prices examples/guides/prices.toml    # terminal 1
    python examples/guides/cost_per_customer.py                 # terminal 2

The program counts no tokens and knows no price. Without a relay it only answers.
"""

import json
import os
import urllib.error
import urllib.request
from typing import Any

import anyio
from handbook import MODEL, QUICK, load_index, prompt, serve
from openai import AsyncOpenAI
from rag_retrieval import ChunkIndex

import lumina_stream as lumina

SERVICE = "cost-per-customer"
RELAY = os.environ.get("LUMINA_ENDPOINT", "http://127.0.0.1:4318")
REQUESTS = [
    ("acme", "What is full jitter?"),
    ("acme", "When does the circuit breaker close again?"),
    ("globex", "Who pays for a cached prefix?"),
]


async def answer(client: AsyncOpenAI, index: ChunkIndex, customer: str, question: str) -> None:
    # Every span that starts inside has the attribute, in other tasks as well.
    with lumina.with_attributes(customer=customer):
        async with lumina.trace("rag_request", kind="task", user_query=question):
            messages = prompt(question, [hit.chunk for hit in index.search(question, 3)])
            create = lumina.trace_llm("synthesis")(client.chat.completions.create)
            await create(model=MODEL, messages=messages, max_tokens=60)


def costs_by(what: str) -> list[dict[str, Any]]:
    url = f"{RELAY}/v1/costs?by={what}&service={SERVICE}&since=1m"
    with urllib.request.urlopen(url, timeout=5) as response:
        return json.load(response)["groups"]


async def main() -> None:
    lumina.init(service_name=SERVICE)
    index = load_index()
    async with (
        serve(QUICK) as base_url,
        AsyncOpenAI(base_url=base_url, api_key="unused") as client,
        anyio.create_task_group() as group,
    ):
        for customer, question in REQUESTS:
            group.start_soon(answer, client, index, customer, question)
    await lumina.aflush()  # What was acknowledged is counted.
    try:
        groups = await anyio.to_thread.run_sync(costs_by, "attribute:customer")
    except urllib.error.URLError:
        print(f"No relay answers at {RELAY}: nobody adds up.")
        return
    for row in groups:
        cost = "no price" if row["cost_usd"] is None else f"${row['cost_usd']:.6f}"
        tokens = row["input_tokens"] + row["output_tokens"]
        print(f"{row['key']!s:8} {row['calls']} calls  {tokens:5} tokens  {cost}")


if __name__ == "__main__":
    anyio.run(main)
