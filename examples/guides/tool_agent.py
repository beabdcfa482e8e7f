"""An agent with tools: the model asks for a tool, the program runs it, until there is an answer.

    lumina-stream run -- python examples/guides/tool_agent.py

The stand-in takes tools by a keyword rule (`../stand_in_tools.py`); requests, tool calls and
results have the shapes of the real API.
"""

import json
from collections.abc import Callable
from typing import Any

import anyio
from handbook import MODEL, QUICK, load_index, serve
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam

import lumina_stream as lumina

QUESTION = "What is full jitter, and what is the product of 4 and 5.5?"
MAX_STEPS = 6
SEARCH = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
NUMBERS = {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}}
ABOUT = {
    "search_handbook": ("Search the handbook for what is full of detail.", SEARCH),
    "multiply": ("The product of two numbers.", NUMBERS),
}
SPECS: Any = [
    {"type": "function", "function": {"name": name, "description": text, "parameters": schema}}
    for name, (text, schema) in ABOUT.items()
]


def tools() -> dict[str, Callable[..., str]]:
    index = load_index()

    @lumina.trace(kind="tool", capture=True)
    def search_handbook(query: str) -> str:
        found = [hit.chunk for hit in index.search(query, 2)]
        return "\n\n".join(f"[{n}] {c.heading}\n{c.text}" for n, c in enumerate(found, start=1))

    @lumina.trace(kind="tool", capture=True)
    def multiply(a: float, b: float) -> str:
        return f"The product of {a:g} and {b:g} is {a * b:g}."

    return {"search_handbook": search_handbook, "multiply": multiply}


async def run_agent(client: AsyncOpenAI, question: str) -> str:
    known = tools()
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": question}]
    decide = lumina.trace_llm("decide")(client.chat.completions.create)
    async with lumina.trace("agent", kind="agent", user_query=question) as agent:
        for number in range(1, MAX_STEPS + 1):
            async with lumina.trace("step", kind="task", number=number):
                completion = await decide(model=MODEL, messages=messages, tools=SPECS)
                message = completion.choices[0].message
                if not message.tool_calls:
                    agent.set_attribute("agent.stop_reason", "answered")
                    return message.content or ""
                messages.append(message.to_dict())  # type: ignore[arg-type]
                for call in message.tool_calls:
                    result = known[call.function.name](**json.loads(call.function.arguments))
                    print(f"  {call.function.name}({call.function.arguments})")
                    messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        agent.set_attribute("agent.stop_reason", "too many steps")
        return "no answer"


async def main() -> None:
    lumina.init(service_name="tool-agent")
    async with (
        serve(QUICK) as base_url,
        AsyncOpenAI(base_url=base_url, api_key="unused") as client,
    ):
        print("Question:", QUESTION)
        print(await run_agent(client, QUESTION))


if __name__ == "__main__":
    anyio.run(main)
